"""Gives the true value of a prefix where it is known, to hold estimates and models against it.

synthetic engine      the exact value of every prefix, and whether its running total is right
arithmetic problems   whether every finished line ends in the right running total (its value is not known)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import EngineConfig
from berry.pipeline.config.sections.problems import ArithmeticProblems
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.stages.problems.arithmetic import worked
from berry.pipeline.stages.training.step_labels import GroundTruth

_NUMBER = re.compile(r"-?\d+$")


def ground_truth_of(config: RunConfig, speaks: Vocabulary) -> GroundTruth | None:
    """For prompt and response ids: the value (None where it is not known), and whether it is right so far. None for
    runs of which nothing is known."""
    continues = None if config.annotation is None else config.annotation.engine  # whose values are labels
    engine = config.engine if continues is None else config.on_engine(continues).engine
    if isinstance(engine, SyntheticEngine):
        return _synthetic(engine)
    if all(isinstance(source, ArithmeticProblems) for source in config.problems):
        return _arithmetic(speaks.decode)
    return None


def _synthetic(config: EngineConfig) -> GroundTruth:
    from berry.pipeline.engines.synthetic.engine import Synthetic
    from berry.pipeline.engines.synthetic.process import ROLES

    assert isinstance(config, SyntheticEngine)
    engine = Synthetic(config)
    assistant = ROLES["assistant"]

    def truth(prompt_ids: Sequence[int], response_ids: Sequence[int]) -> tuple[float | None, bool]:
        assert prompt_ids[-1] == assistant
        chain = engine.chain(prompt_ids)
        done, total, _ = chain.position(list(response_ids))
        return engine.true_value([*prompt_ids, *response_ids]), total == chain.totals[done]

    return truth


def _arithmetic(decode: Callable[[Sequence[int]], str]) -> GroundTruth:
    def truth(prompt_ids: Sequence[int], response_ids: Sequence[int]) -> tuple[float | None, bool]:
        expected = [_last(line) for line in worked(decode(prompt_ids).strip()).splitlines()]
        lines = decode(response_ids).rstrip("\n").split("\n")
        return None, [_last(line) for line in lines] == expected[: len(lines)]

    return truth


def _last(line: str) -> str | None:
    found = _NUMBER.search(line.strip())
    return None if found is None else found.group()
