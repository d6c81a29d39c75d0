"""Trees counted by hand, and the saving over independent samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.config.base import Section
from berry.pipeline.config.plan import Workload
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.tree_shape import shape, sharing, stages

MakeWorkload = Callable[..., Workload]


def test_independent_samples_share_the_prompt_alone(make_workload: MakeWorkload) -> None:
    w = make_workload(policy={"type": "best_of_n", "n": 8}, output_scv=0)
    tree = shape(w)
    assert (tree.leaves, tree.generated, tree.requests) == (8, 8 * 1500, 8)
    saved = sharing(w, tree)
    assert saved.generated == saved.generated_independent
    assert saved.resident == pytest.approx(200 / 8 + 750)
    assert saved.resident_independent == pytest.approx(200 + 750)
    assert saved.prefill == pytest.approx(200 + 8 * 8.5)
    assert saved.prefill_independent == 8 * 200


def test_a_tree_generates_its_trunk_once(make_workload: MakeWorkload) -> None:
    w = make_workload(policy={"type": "fixed", "branching": [4, 2, 2]}, step_tokens=100, output_tokens=400)
    tree = shape(w)
    assert tree.leaves == 16
    assert tree.generated == 4 * 100 + 8 * 100 + 16 * 100 + 16 * 100
    saved = sharing(w, tree)
    assert saved.generated < saved.generated_independent == 16 * 400
    assert saved.resident < saved.resident_independent


def test_forks_of_finished_chains_add_half_a_chain_each(make_workload: MakeWorkload) -> None:
    policy = {"type": "entropy", "chains": 4, "forks": 2, "rounds": 1, "branches": 2}
    tree = shape(make_workload(policy=policy, output_tokens=1000))
    assert tree.leaves == 4 + 4 * 2 * 2
    assert tree.generated == 4 * 1000 + 16 * 500


def test_without_the_cache_every_request_reads_its_prefix(make_workload: MakeWorkload) -> None:
    policy = {"type": "fixed", "branching": [4, 2]}
    w = make_workload(policy=policy, step_tokens=100, output_tokens=200, prefix_caching=False)
    assert sharing(w, shape(w)).prefill == 4 * 200 + 8 * 300


def test_a_policy_without_a_shape_is_refused_with_a_way_out() -> None:
    class Unheard(Section):
        type: str = "unheard"

    with pytest.raises(ConfigError, match=r"no tree shape for policy unheard .* plan it as best_of_n"):
        stages(Unheard(), 100, 10)


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
    tree = shape(w)
    saved = sharing(w, tree)
    assert 0 < saved.generated <= saved.generated_independent * (1 + 1e-9)
    assert 0 < saved.resident <= saved.context * (1 + 1e-9)
