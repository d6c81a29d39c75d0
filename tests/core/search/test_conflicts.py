"""Parameters that can't work together are told with the numbers; sizes are what a search turns out to be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from berry.pipeline.config.sections.rollout.policies import Policy
from berry.pipeline.config.sections.rollout.rollout import (
    Budget,
    Cut,
    DelimiterStep,
    RegexStep,
    Rollout,
    SamplingConfig,
    TokensStep,
)
from berry.pipeline.core import events as ev
from berry.pipeline.core.search.conflicts import explain_conflicts, explain_missing_steps, explain_no_labels
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.search.policies.value import ValueGuided
from berry.pipeline.core.search.registry import search_class
from berry.pipeline.core.search.sizes import leaves, width

POLICIES: list[Any] = [BestOfN(), Fixed(), Entropy(), ValueGuided(), Beam(), Dvts(), Mcts(), Shepherd(), Omega()]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.type)
def test_every_policy_has_a_search_and_defaults_without_conflict(policy: Any) -> None:
    assert search_class(policy).config is type(policy)
    assert explain_conflicts(Rollout(policy=policy)) == []


@pytest.mark.parametrize(
    ("rollout", "numbers"),
    [
        (Rollout(policy=Fixed(branching=(4, 4, 4)), budget=Budget(max_leaves=50)), ("64", "50")),
        (Rollout(policy=Entropy(chains=4, forks=2, rounds=1, branches=2), budget=Budget(max_leaves=19)), ("20", "19")),
        (Rollout(policy=Beam(beams=4, width=4), budget=Budget(max_leaves=10)), ("16", "10")),
        (Rollout(policy=Shepherd(chains=2, completions=8), budget=Budget(max_leaves=8)), ("2", "8")),
        (Rollout(policy=Omega(chains=2, completions=8), budget=Budget(max_leaves=8)), ("2", "8")),
        (Rollout(policy=Fixed(branching=(2, 2, 2)), budget=Budget(max_depth=2)), ("3", "2")),
        (Rollout(policy=Dvts(), budget=Budget(max_depth=1)), ("dvts", "max_depth = 1")),
        (Rollout(policy=Fixed(), step=TokensStep(tokens=300)), ("300", "256")),
        (Rollout(policy=Fixed(branching=(2,) * 6), step=TokensStep(tokens=64)), ("6 depths", "4 times")),
        (Rollout(budget=Budget(max_tokens=100)), ("100", "256")),
        (Rollout(policy=Mcts(), cut=Cut()), ("mcts", "never")),
        (Rollout(policy=ValueGuided(cut_below=0.3), cut=Cut(below=0.2)), ("0.2", "0.3")),
        (Rollout(policy=Beam(), sampling=SamplingConfig(temperature=0)), ("temperature = 0", "beam")),
        (Rollout(policy=BestOfN(n=8), sampling=SamplingConfig(temperature=0)), ("8 times",)),
        (Rollout(policy=BestOfN(n=8), budget=Budget(stop_after_correct=9)), ("9", "8")),
        (Rollout(policy=BestOfN(n=8), budget=Budget(hopeless_after=9)), ("hopeless_after = 9", "8")),
        (Rollout(policy=BestOfN(n=4), budget=Budget(pass_rate_band=(0.1, 0.9))), ("band_after = 8", "4")),
        (Rollout(budget=Budget(reallocate=True)), ("stop_after_correct",)),
        (Rollout(policy=Fixed(), budget=Budget(max_in_flight=2)), ("fixed", "max_in_flight")),
    ],
)
def test_conflicts_name_the_numbers(rollout: Rollout, numbers: tuple[str, ...]) -> None:
    found = explain_conflicts(rollout)
    assert len(found) == 1
    assert all(number in found[0] for number in numbers), found[0]


def test_a_delimiter_the_model_never_writes_is_told_after_a_while(core: Any) -> None:
    silent = DelimiterStep(delimiters=("###",))
    world = core.SyntheticWorld(1)
    for policy in (Fixed(branching=(40, 2)), Shepherd(chains=40, completions=1), Mcts(simulations=40, width=40)):
        search = core.play(core.synthetic(world, policy, step=silent), world).search
        said = explain_missing_steps(search.rollout, search.ledger.snapshot())
        assert said is not None
        assert "###" in said
        assert policy.type in said
        spoken = core.play(core.synthetic(world, policy), world).search
        assert explain_missing_steps(spoken.rollout, spoken.ledger.snapshot()) is None
    chains = core.play(core.search(BestOfN(n=40), step=silent), core.World(3)).search
    assert explain_missing_steps(chains.rollout, chains.ledger.snapshot()) is None


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.type)
def test_sizes_are_what_a_search_turns_out_to_be(core: Any, policy: Any) -> None:
    search = core.search(policy)
    first = search.start()
    assert sum(c.n for c in first if isinstance(c, ev.Generate)) == width(search.rollout)
    wanted = leaves(search.rollout)
    if wanted is not None and not isinstance(policy, ValueGuided):
        assert len(core.play(core.search(policy), core.World(6)).search.trajectories()) == wanted
        assert search.planned_leaves(policy) == wanted


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"type": "fixed", "branching": []}, "branching"),
        ({"type": "fixed", "branching": [2, 0]}, ">= 1"),
        ({"type": "mcts", "simulations": 0}, "greater than or equal to 1"),
        ({"type": "value", "cut_below": 2}, "less than or equal to 1"),
        ({"type": "beam", "width": 2, "depth": 3}, "depth"),
    ],
)
def test_parameters_out_of_range_are_refused(raw: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(Policy).validate_python(raw)


def test_bands_and_patterns_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="low < high"):
        Budget(pass_rate_band=(0.9, 0.1))
    with pytest.raises(ValidationError, match="regular expression"):
        RegexStep(pattern="(")
    with pytest.raises(ValidationError, match="empty text"):
        RegexStep(pattern="x*")


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.type)
def test_trees_that_will_have_labels_are_not_refused(policy: Any) -> None:
    if isinstance(policy, Omega):
        policy = policy.model_copy(update={"early_exit": False})
    assert explain_no_labels(Rollout(policy=policy), ("estimate",)) is None


@pytest.mark.parametrize(
    ("rollout", "key"),
    [
        (Rollout(policy=Fixed(), cut=Cut(below=0.2, spare=0)), "rollout.cut.spare = 0"),
        (Rollout(policy=Beam(spare=0)), "rollout.policy.spare = 0"),
        (Rollout(policy=Dvts(spare=0)), "rollout.policy.spare = 0"),
        (Rollout(policy=ValueGuided(spare=0)), "rollout.policy.spare = 0"),
    ],
)
def test_trees_of_survivors_have_no_labels_unless_they_are_asked_for_by_name(rollout: Rollout, key: str) -> None:
    told = explain_no_labels(rollout, ("estimate",))
    assert told is not None
    assert key in told
    assert explain_no_labels(rollout, ("estimate", "survivors")) is None


def test_trees_that_verdicts_end_have_no_labels_unless_chains_end_in_their_order() -> None:
    budget = Budget(stop_after_correct=2)
    told = explain_no_labels(Rollout(policy=Fixed(branching=(4, 2)), budget=budget), ("estimate", "survivors"))
    assert told is not None
    assert "early stops" in told
    assert explain_no_labels(Rollout(policy=BestOfN(n=8), budget=budget), ("estimate",)) is None
