"""Labels by completions of stored prefixes: what they count for, what they leave alone, and that they are true."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.sections.annotation import Annotation
from berry.pipeline.config.sections.rollout.rollout import Budget
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.values.annotated import completions
from berry.pipeline.core.values.pass_at_k import chains_of
from berry.pipeline.records import DropReason, ValueKind

EARLY = {"budget": Budget(stop_after_correct=2)}


@pytest.fixture
def labelled(core: Any, bias: Any) -> Any:
    """labelled(policy, annotation keys, problem, rollout keys) -> the search before, and the one that labelled it."""

    def make(policy: Any, annotation: dict[str, Any], index: int = 0, **rollout: Any) -> tuple[Any, Any]:
        world = core.SyntheticWorld(index, noise=0.1, steps=6, error_rate=(0.1, 0.25), repair_rate=(0, 0.1))
        search = core.synthetic(world, policy, run_seed=index, **rollout)
        core.play(search, world, check=False)
        return search, bias.annotate(core, search, world, Annotation.model_validate(annotation))

    return make


def _values(search: Any) -> dict[str, Any]:
    values = search.values()
    return {node.node_id: values[node.node_id] for node in search.tree.walk()}


def test_what_the_search_drew_keeps_its_values_where_nothing_was_chosen_by_verdicts(labelled: Any) -> None:
    before, after = labelled(BestOfN(n=6), {"of": 2, "completions": 4})
    old, new = before.values(), after.values()
    assert chains_of(after.tree, new) is not None
    assert new[after.tree.root.node_id].n == 6
    labels = [new[node.node_id] for node in after.tree.walk() if completions(node)]
    assert labels
    assert {value.n for value in labels} == {4}
    assert {value.kind for value in labels} == {ValueKind.ESTIMATE}
    assert old[before.tree.root.node_id] == new[after.tree.root.node_id]


def test_a_completed_prefix_passes_up_what_its_own_search_drew(labelled: Any) -> None:
    """Else a tree whose passing chains were labelled would look worse than one that was not."""
    for index in range(6):
        before, after = labelled(Shepherd(chains=2, completions=3), {"of": "kept", "completions": 8}, index)
        root = before.tree.root.node_id
        assert before.values()[root].value == after.values()[root].value


def test_where_verdicts_chose_the_others_are_null(labelled: Any) -> None:
    _, after = labelled(Shepherd(chains=3, completions=4), {"of": "dropped", "completions": 4})
    values = _values(after)
    inner = [node for node in after.tree.walk() if node.children and node is not after.tree.root]
    assert {bool(completions(node)) for node in inner} == {True, False}
    for node in inner:
        value = values[node.node_id]
        if completions(node):
            assert value.kind is ValueKind.ESTIMATE
        else:
            assert (value.value, value.kind) == (None, ValueKind.ADAPTIVE)
    leaf = next(node for node in after.tree.leaves() if node.drop is None and node.verdict is not None)
    assert values[leaf.node_id].value == float(leaf.verdict.passed)


def test_each_prefix_is_completed_once_however_many_trajectories_share_it(labelled: Any) -> None:
    _, after = labelled(Beam(beams=2, width=4, spare=0), {"of": "all", "completions": 3})
    drawn = {node.node_id: len(completions(node)) for node in after.tree.walk() if completions(node)}
    assert set(drawn.values()) == {3}
    assert after.ledger.extra["requests"] == len(drawn)
    finals = [node for node in after.tree.walk() if node.verdict is not None and node.drop is None]
    assert finals
    assert not any(completions(node) for node in finals)


def test_a_search_without_an_estimate_of_its_own_gets_one_from_completions_of_the_root(labelled: Any) -> None:
    for policy, rollout in ((Beam(beams=2, width=4, spare=0), {}), (Fixed(branching=(4, 2)), EARLY)):
        before, after = labelled(policy, {"of": 1, "completions": 16}, **rollout)
        root = before.tree.root.node_id
        assert before.values()[root].kind is not ValueKind.ESTIMATE
        assert (after.values()[root].kind, after.values()[root].n) == (ValueKind.ESTIMATE, 16)
        chains = chains_of(after.tree, after.values())
        assert chains is not None
        assert len(chains) == 16


def test_completions_are_dropped_as_such(labelled: Any) -> None:
    _, after = labelled(BestOfN(n=4), {"of": "all", "completions": 2})
    drawn = sum(len(completions(node)) for node in after.tree.walk())
    reasons = [t.drop_reason for t in after.trajectories()]
    assert (reasons.count(None), reasons.count(DropReason.ANNOTATION)) == (4, drawn)


def test_binary_search_finds_the_first_step_from_which_nothing_passes_and_labels_what_it_tried(labelled: Any) -> None:
    searched = 0
    for index in range(20):
        before, after = labelled(BestOfN(n=8), {"method": "omega", "of": "dropped", "completions": 8}, index)
        rate = before.values()[before.tree.root.node_id].value
        tried = [node for node in after.tree.walk() if completions(node)]
        assert bool(tried) <= (0 < rate < 1), "only problems with 0 < MC < 1 are searched"
        for trajectory in [t for t in after.trajectories() if t.drop_reason is None]:
            path = after.tree.path(after.tree[trajectory.leaf])
            reached = [after.values()[node.node_id].reached for node in path]
            if after.tree[trajectory.leaf].verdict.passed or not any(completions(node) for node in path):
                continue
            searched += 1
            first = reached.index(False)
            assert not any(reached[first:]), "behind the first wrong step nothing passes"
            assert sum(bool(completions(node)) for node in path) <= 4, "six steps take three completions, or four"
    assert searched > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "annotation", "rollout", "problems"),
    [
        (Beam(beams=2, width=3, spare=0), {"of": "kept"}, {}, 150),
        (Beam(beams=2, width=3, spare=0), {"of": "all", "completions": 4}, {}, 150),
        (BestOfN(n=8), {"of": "dropped", "completions": 4}, {}, 150),
        (Fixed(branching=(4, 2)), {"of": 1, "completions": 16}, EARLY, 150),
        (BestOfN(n=8), {"method": "omega", "of": "dropped"}, {}, 150),
    ],
    ids=["beam, kept", "beam, all", "best_of_n, dropped", "stopped early, 1 a problem", "omega"],
)
def test_labels_are_true_in_the_mean_and_their_intervals_hold_the_truth(
    core: Any, bias: Any, policy: Any, annotation: dict[str, Any], rollout: dict[str, Any], problems: int
) -> None:
    asked = Annotation.model_validate(annotation)
    measured = bias.measure(core, policy, problems=problems, shuffle=True, steps=6, annotation=asked, **rollout)
    print(
        f"\nlabels {measured.labels.bias:+.3f} ± {measured.labels.two_sigma:.3f}, {measured.labels.null_share:.0%} "
        f"null, coverage {measured.labels.coverage}; pass rate {measured.root.bias:+.3f} "
        f"± {measured.root.two_sigma:.3f}"
    )
    assert measured.labels.count > 100
    assert abs(measured.labels.bias) <= 0.02
    assert measured.labels.coverage is None or measured.labels.coverage >= 0.92
    assert abs(measured.root.bias) <= max(0.02, measured.root.two_sigma)
