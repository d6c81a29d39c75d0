"""Trees counted by hand, and the saving over independent samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berry.pipeline.config.plan import Paced, Workload
from berry.pipeline.config.sections.rollout.policies import POLICIES
from berry.pipeline.planning.tree_shape import shape_of, sharing

MakeWorkload = Callable[..., Workload]


def test_independent_samples_share_the_prompt_alone(make_workload: MakeWorkload) -> None:
    w = make_workload(policy={"type": "best_of_n", "n": 8}, output_tokens=1536, output_scv=0)  # 24 whole steps
    tree = shape_of(w)
    assert (tree.leaves, tree.generated, tree.sequences) == pytest.approx((8, 8 * 1536, 8))
    saved = sharing(w, tree)
    assert saved.generated == saved.generated_independent
    assert saved.resident == pytest.approx(200 / 8 + 768)
    assert saved.resident_independent == pytest.approx(200 + 768)
    assert saved.prefill == pytest.approx(200 + 8 * 8.5)
    assert saved.prefill_independent == 8 * 200


def test_a_tree_generates_its_trunk_once(make_workload: MakeWorkload) -> None:
    policy = {"type": "fixed", "branching": [4, 2, 2]}
    w = make_workload(policy=policy, step_tokens=100, output_tokens=400, output_scv=0)
    tree = shape_of(w)
    assert tree.leaves == 16
    assert tree.generated == 4 * 100 + 8 * 100 + 16 * 100 + 16 * 100
    saved = sharing(w, tree)
    assert saved.generated < saved.generated_independent == 16 * 400
    assert saved.resident < saved.resident_independent


def test_forks_of_finished_chains_add_half_a_chain_each(make_workload: MakeWorkload) -> None:
    policy = {"type": "entropy", "chains": 4, "forks": 2, "rounds": 1, "branches": 2}
    tree = shape_of(make_workload(policy=policy, output_tokens=1000, output_scv=0))
    assert tree.leaves == 4 + 4 * 2 * 2
    assert tree.generated == pytest.approx(4 * 1000 + 16 * 500, rel=0.05)


def test_without_the_cache_every_request_reads_its_prefix(make_workload: MakeWorkload) -> None:
    policy = {"type": "fixed", "branching": [4, 2]}
    w = make_workload(policy=policy, step_tokens=100, output_tokens=200, output_scv=0, prefix_caching=False)
    assert sharing(w, shape_of(w)).prefill == 4 * 200 + 8 * 300


@pytest.mark.parametrize("name", POLICIES.names())
def test_every_policy_is_planned(name: str, make_workload: MakeWorkload) -> None:
    w = make_workload(policy={"type": name})
    tree = shape_of(w)
    saved = sharing(w, tree)
    assert tree.leaves >= 1
    assert saved.prefill > 0
    assert 0 < saved.resident <= saved.context


def test_a_paced_engine_reads_once_a_request(make_workload: MakeWorkload) -> None:
    w = make_workload(policy={"type": "best_of_n", "n": 8}, output_scv=0)
    paced = w.model_copy(update={"model": None, "paced": Paced(tokens_per_s=50)})
    assert sharing(w, shape_of(w)).prefill == 200 + 8 * 8.5
    assert sharing(paced, shape_of(paced)).prefill == 200 + 8.5


@settings(max_examples=25, deadline=None)
@given(
    branching=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    output=st.integers(1, 5000),
    step=st.integers(1, 500),
    prompt=st.integers(1, 5000),
)
def test_a_tree_never_costs_more_than_independent_samples(
    branching: list[int], output: int, step: int, prompt: int
) -> None:
    w = Workload.model_validate(
        {
            "problems": 1,
            "model": "llama-3.1-8b",
            "prompt_tokens": prompt,
            "output_tokens": output,
            "policy": {"type": "fixed", "branching": branching},
            "step_tokens": step,
            "verifiers": [{"name": "math", "mean_ms": 1}],
        }
    )
    tree = shape_of(w)
    saved = sharing(w, tree)
    assert 0 < saved.generated <= saved.generated_independent * (1 + 1e-9)
    assert 0 < saved.resident <= saved.context * (1 + 1e-9)
