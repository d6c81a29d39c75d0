"""A run's own classes are begun in the jail before the run: what can't work is refused, with place and words."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ConfigError
from berry.pipeline.stages.tools.preflight import check_interaction

GAME = "class Game:\n    def __init__(self, problem, seed, **options):\n        {begin}\n"
GAME += "    def turn(self, said):\n        {turn}\n"
TOOL = (
    "class Tool:\n    parameters = {{'type': 'object'}}\n    def __init__(self, problem, **options):\n        {begin}\n"
)


def config(**rollout: Any) -> RunConfig:
    raw = {
        "name": "r",
        "problems": [{"type": "synthetic", "count": 2}],
        "engine": {"type": "synthetic"},
        "rollout": rollout,
    }
    return validate(raw, RunConfig, where="test")


def game(begin: str = "pass", turn: str = "return 'Go on.'", **more: Any) -> RunConfig:
    source = GAME.format(begin=begin, turn=turn)
    return config(environment={"target": "game.py:Game", "source": source, **more})


def tool(begin: str = "pass", **more: Any) -> RunConfig:
    return config(
        tools=[{"type": "custom", "target": "tool.py:Tool", "source": TOOL.format(begin=begin), "name": "t", **more}]
    )


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            lambda: game(begin="raise KeyError('board')"),
            "(game.py:Game) can't be made for problem 'synthetic-0-0': KeyE",
        ),
        (
            lambda: game(turn="raise KeyError('board')"),
            "can't answer an empty first turn of problem 'synthetic-0-0': Key",
        ),
        (lambda: game(turn="return None"), "the environment: it said null, which is no turn and no end of an episode"),
        (lambda: game(turn="return {'content': 'x', 'role': 'system'}"), "it spoke as 'system'"),
        (lambda: game(turn="while True: pass", call_wall_s=0.3), "no result within 0.3 s"),
        (lambda: tool(begin="raise ValueError('no key')"), "rollout.tools.0 (tool.py:Tool) can't be made for problem"),
        (lambda: tool(options={"problem": 1}), "got multiple values for argument 'problem'"),
        (lambda: config(tools=[{"type": "sql", "setup": "create tabel x"}]), "rollout.tools.0 (sql) can't be made"),
    ],
    ids=["init", "turn", "none", "role", "hang", "tool", "options", "setup"],
)
def test_what_can_not_work_is_refused(run: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_interaction(run(), {"math": 2})
    assert said in str(caught.value)


def test_what_works_is_let_through() -> None:
    assert check_interaction(game(), {"environment": 2}) is None
    assert check_interaction(game(turn="return {'reward': 0}"), {"math": 2}) is None
    assert check_interaction(tool(), {"math": 2}) is None
    assert check_interaction(config(), {"math": 2}) is None


def test_problems_that_only_an_environment_can_check_are_refused_without_one() -> None:
    with pytest.raises(
        ConfigError, match=r"rollout\.environment is not set, and 3 problems have a verifier of type env"
    ):
        check_interaction(config(), {"environment": 3})
