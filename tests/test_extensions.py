"""Policies and pruning rules of other packages: found by entry points, by registration, and refused with both names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from berry.pipeline.cli import main
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig, plain
from berry.pipeline.config.sections.rollout.policies import POLICIES, PolicyConfig
from berry.pipeline.config.sections.rollout.pruning import PRUNING_RULES, RuleConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core import events as ev
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.core.prune.registry import prune, register_pruning_rule
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.registry import make_search, register_policy
from berry.pipeline.errors import ConfigError
from berry.pipeline.extensions import Registry
from berry.pipeline.records import DropReason, Finish, Trajectory
from berry.verifiers.specs import extensions as verifier_kinds

TWICE = """
from typing import Literal
from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.core.search.base import Search

class Twice(PolicyConfig):
    type: Literal["{name}"] = "{name}"
    pairs: int = 1

class TwiceSearch(Search[Twice]):
    config = Twice
    @classmethod
    def width(cls, policy): return 2 * policy.pairs
    @classmethod
    def planned_leaves(cls, policy): return 2 * policy.pairs
    def begin(self): self.grow(self.tree.root, 2 * self.policy.pairs, to_end=True)
"""


def install(folder: Path, package: str, name: str, module: str, text: str, group: str = "berry.policies") -> None:
    """A distribution as pip leaves it, with one entry point."""
    info = folder / f"{package.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:TwiceSearch\n")
    (folder / f"{module}.py").write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages on the path; what was looked up before and after is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (POLICIES, PRUNING_RULES):
        monkeypatch.setattr(registry, "_announced", None)
        monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
        monkeypatch.setattr(registry, "_added", set(registry._added))
    return tmp_path


def test_a_packages_policy_is_configured_and_searched_like_one_of_berrys(site: Path) -> None:
    install(site, "lab-search", "twice", "lab_twice", TWICE.format(name="twice"))
    rollout = validate({"policy": {"type": "twice", "pairs": 3}}, Rollout, where="rollout")
    search = make_search("p", [1], rollout, run_seed=1, context_len=100)
    assert sum(c.n for c in search.start() if isinstance(c, ev.Generate)) == 6
    assert rollout.model_dump()["policy"] == {"type": "twice", "pairs": 3}
    assert Rollout.model_validate_json(rollout.model_dump_json()) == rollout
    with pytest.raises(
        ConfigError, match=r"policy\.pears is not a known key; did you mean pairs\? \(known here: pairs, type"
    ):
        validate({"policy": {"type": "twice", "pears": 3}}, Rollout, where="rollout")


def test_two_packages_that_register_one_verifier_are_one_message_before_anything_starts(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("lab-one", "lab-two"):
        install(site, package, "twice", package.replace("-", "_"), "", group="berry.verifiers")
    (site / "c.yaml").write_text("problems: [{type: synthetic, count: 2}]\nengine: {type: synthetic}\n")
    verifier_kinds.installed.cache_clear()
    monkeypatch.setattr("sys.argv", ["berry", "run", str(site / "c.yaml"), "--dry-run"])
    with pytest.raises(SystemExit) as ended:
        main()
    verifier_kinds.installed.cache_clear()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert re.search(r"^berry: verifier 'twice' is registered by both lab-\w+ and lab-\w+: uninstall one", said, re.M)
    assert "lab-one" in said
    assert "lab-two" in said


def test_two_packages_that_register_one_name_are_both_named(site: Path) -> None:
    install(site, "lab-one", "twice", "one_twice", TWICE.format(name="twice"))
    install(site, "lab-two", "twice", "two_twice", TWICE.format(name="twice"))
    with pytest.raises(
        ConfigError, match=r"'twice' is registered by two packages, lab-\w+ 1\.2 and lab-\w+ 1\.2; uninstall"
    ):
        validate({"policy": {"type": "best_of_n"}}, Rollout, where="rollout")


def test_a_package_can_not_take_one_of_berrys_names(site: Path) -> None:
    install(site, "lab-beam", "beam", "lab_beam", TWICE.format(name="beam"))
    with pytest.raises(ConfigError, match=r"'beam' is registered by two packages, berry-pipeline and lab-beam 1\.2"):
        POLICIES.names()


def test_an_unknown_name_lists_what_there_is(site: Path) -> None:
    install(site, "lab-search", "twice", "lab_twice", TWICE.format(name="twice"))
    with pytest.raises(
        ConfigError,
        match=r"rollout: policy\.type must be one of best_of_n, .*omega, twice, got 'twise'; did you mean twice\?",
    ):
        validate({"policy": {"type": "twise"}}, Rollout, where="rollout")
    with pytest.raises(
        ConfigError, match=r"'twise' is not known; did you mean twice\? \(there are best_of_n, .*; a package"
    ):
        POLICIES.get("twise")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import nothing_of_that_name", r"can't be loaded from lab_bad:TwiceSearch: ModuleNotFoundError"),
        ("class TwiceSearch: pass", r"can't be used: its `config` must be a subclass of .*PolicyConfig, got None"),
        (TWICE.format(name="thrice"), r'can\'t be used: Twice\.type must be a Literal with the default "bad"'),
    ],
)
def test_a_broken_package_harms_those_alone_who_name_it(site: Path, text: str, problem: str) -> None:
    install(site, "lab-bad", "bad", "lab_bad", text)
    validate({"policy": {"type": "beam"}}, Rollout, where="rollout")
    with pytest.raises(ConfigError, match=problem):
        validate({"policy": {"type": "bad"}}, Rollout, where="rollout")
    import sys

    sys.modules.pop("lab_bad", None)


class Pairs(PolicyConfig):
    type: Literal["pairs"] = "pairs"


class PairsSearch(Search[Pairs]):
    config = Pairs

    @classmethod
    def width(cls, policy: Pairs) -> int:
        return 2

    @classmethod
    def planned_leaves(cls, policy: Pairs) -> int:
        return 2

    def begin(self) -> None:
        self.grow(self.tree.root, 2, to_end=True)


class Odd(RuleConfig):
    type: Literal["odd"] = "odd"
    modulus: int = 2


class DropsOdd:
    config: ClassVar = Odd

    def __init__(self, rule: Odd) -> None:
        self.rule = rule

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        return {t.trajectory_id: DropReason.FORMAT for t in alive if t.n_tokens % self.rule.modulus}


def test_a_policy_and_a_rule_are_registered_from_python(site: Path) -> None:
    register_policy(PairsSearch)
    register_policy(PairsSearch)  # the same again is no conflict
    register_pruning_rule(DropsOdd)
    raw: dict[str, Any] = {
        "name": "job",
        "problems": [{"type": "synthetic", "count": 3}],
        "engine": {"type": "synthetic"},
        "rollout": {"policy": {"type": "pairs"}},
        "pruning": [{"type": "verdict"}, {"type": "odd", "modulus": 3}],
    }
    config = validate(raw, RunConfig, where="job.yaml")
    assert plain(config)["pruning"] == [{"type": "verdict"}, {"type": "odd", "modulus": 3}]
    even = [_trajectory("a", 3), _trajectory("b", 4)]
    assert [d.reason for d in prune(even, config.pruning[1:])] == [None, DropReason.FORMAT]

    class Other(PairsSearch):
        config = Pairs

    with pytest.raises(ConfigError, match="'pairs' is registered already, by this program; choose another name"):
        register_policy(Other)
    with pytest.raises(ConfigError, match=r"pruning\.0\.modulus .*valid integer"):
        validate({**raw, "pruning": [{"type": "odd", "modulus": "x"}]}, RunConfig, where="job.yaml")


def test_registered_names_come_after_berrys_own(site: Path) -> None:
    install(site, "lab-search", "aaa", "lab_aaa", TWICE.format(name="aaa"))
    assert POLICIES.names()[0] == "best_of_n"
    assert POLICIES.names()[-1] == "aaa"
    assert Registry[Any]("berry.none", {}).names() == []


def _trajectory(name: str, n_tokens: int) -> Trajectory:
    return Trajectory(
        name, "p", "leaf", (), "", None, n_tokens, n_tokens, None, None, None, None, Finish.STOP, False, None
    )
