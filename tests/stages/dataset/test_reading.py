from __future__ import annotations

import json
import math
import statistics
from array import array
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from berry.pipeline.core.search.outcome import nodes
from berry.pipeline.core.values.estimate import estimate
from berry.pipeline.core.values.pass_at_k import chains_of
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.engines.synthetic.process import NUMBER, PromptProcess
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import StorageError
from berry.pipeline.records import ValueKind
from berry.pipeline.report.summary import pass_at_k, summarise
from berry.pipeline.stages.dataset.reading import read_trees, stored_config
from berry.pipeline.stages.training.ground_truth import ground_truth_of
from berry.pipeline.stages.training.step_labels import labelled_paths
from berry.pipeline.storage.parquet.checked_read import read_marks
from berry.pipeline.storage.run.directory import open_run
from berry.pipeline.storage.run.duckdb_views import connect


def single(number: float) -> float:
    """As it comes back from a column of single precision."""
    return array("f", [number])[0]


def test_a_tree_comes_back_as_it_was_stored(stored_run) -> None:
    run = stored_run(count=9)
    stored = {
        (r[0], r[1]): r[2:]
        for r in connect(run)
        .execute(
            "select problem_id, node::varchar, parent::varchar, depth, value, value_n, value_kind, reached, sample,"
            " weight, text from nodes"
        )
        .fetchall()
    }
    trees = list(read_trees(run))
    assert len(trees) == 9
    count = 0
    for tree in trees:
        again = estimate(tree.tree)
        for node in nodes(tree.tree, tree.values):
            parent, depth, value, n, kind, reached, sample, weight, text = stored[tree.problem_id, node.node_id]
            assert (node.parent_id, node.depth, node.sample, node.weight) == (parent, depth, sample, weight)
            assert (node.value, node.value_n, node.value_kind, node.reached) == (value, n, kind, reached)
            value = again[node.node_id]
            assert tree.values[node.node_id] == structs.replace(value, low=single(value.low), high=single(value.high))
            if parent is not None:
                assert node.text == text
            count += 1
        assert tree.problem is not None
        assert tree.messages == tree.problem.messages
        assert tree.synthetic
        for row in tree.trajectories:
            assert "".join(tree.texts(row)) == row["response"]
    assert count == len(stored)


def true_logprob(chain: PromptProcess, before: list[int], token: int) -> float:
    """Of a token of the synthetic process after `before`: only a step's result is left to chance."""
    step, total, partial = chain.position(before)
    if step == chain.n_steps or len(partial) != chain.decision(step) - 1:
        return -0.02
    right = token - NUMBER == chain.totals[step + 1]
    if total != chain.totals[step]:
        return math.log(chain.repair if right else 1 - chain.repair)
    return math.log(1 - chain.errors[step] if right else chain.errors[step] / 6)


@pytest.mark.parametrize(
    "policy",
    [
        {"type": "fixed", "branching": [3, 2, 2]},
        {"type": "entropy", "chains": 2, "rounds": 1, "forks": 2, "branches": 2},
        {"type": "shepherd", "chains": 2, "completions": 2},
    ],
)
def test_each_token_keeps_the_log_probability_it_was_drawn_with(stored_run, policy) -> None:
    run = stored_run(count=8, policy=policy, rollout={"sampling": {"max_tokens": 300, "temperature": 1.0}})
    engine = Synthetic(stored_config(run).engine)  # type: ignore[arg-type]
    drawn = 0
    for stored in read_trees(run):
        chain = engine.chain(stored.tree.prompt_ids)
        for node in [n for n in stored.tree.walk() if n.depth]:
            response = stored.tree.response_ids(node.node_id)
            begin = node.end - len(node.tokens)
            expected = [true_logprob(chain, response[:at], response[at]) for at in range(begin, node.end)]
            assert list(node.logprobs or ()) == pytest.approx(expected, abs=1e-6)
            assert node.logprob_sum == pytest.approx(sum(expected), abs=1e-4)
            drawn += len(node.tokens)
        for row in stored.kept:
            [path] = [t["path"] for t in stored.trajectories if t["trajectory_id"] == row["trajectory_id"]]
            assert row["logprobs"] == [x for n in path for x in stored.tree[n].logprobs or ()]
            assert len(row["logprobs"]) == len(row["token_ids"])
    assert drawn > 1000
    mark = json.loads(read_marks(run.location, "kept", 0, 0)["logprobs"])
    assert mark == {"mode": "processed_logprobs", "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}


def test_messages_survive_the_loss_of_the_problem_files(stored_run, monkeypatch) -> None:
    run = stored_run(count=3)
    expected = {t.problem_id: (t.messages, t.problem) for t in read_trees(run)}
    monkeypatch.setattr("berry.pipeline.stages.dataset.reading.searched_leases", lambda *_args, **_kwargs: iter(()))
    for tree in read_trees(run):
        assert (tree.messages, tree.problem) == expected[tree.problem_id]


def test_a_damaged_shard_is_a_storage_error(stored_run) -> None:
    run = stored_run(count=3)
    path = run.location.path("round=0/nodes/shard-000000.parquet")
    data = bytearray(open(path, "rb").read())  # noqa: SIM115
    data[len(data) // 3] ^= 0xFF
    open(path, "wb").write(data)  # noqa: SIM115
    with pytest.raises(StorageError, match="is damaged"):
        list(read_trees(run))


def test_steps_end_where_their_nodes_do_and_a_shared_prefix_is_first_once(stored_run) -> None:
    run = stored_run(count=5)
    config = stored_config(run)
    speak = vocabulary.of_engine(config.engine)
    for tree in read_trees(run):
        paths = labelled_paths(tree, step=config.rollout.step, thinking=None, decode=speak.decode)
        labels = 0
        for path in paths:
            assert path.ends[-1] == path.tokens
            assert list(path.ends) == sorted(set(path.ends))
            assert path.soft[-1] == float(bool(path.passed))
            labels += sum(path.first)
        steps = sum(node.text.count("\n\n") + ("boxed" in node.text) for node in nodes(tree.tree, tree.values)[1:])
        assert labels == steps  # of every node each step, once, however many paths run through it
        assert sum(len(path.ends) for path in paths) > labels


def test_whole_chains_are_cut_into_the_same_steps_as_step_by_step_growth(stored_run) -> None:
    run = stored_run(count=4, policy={"type": "best_of_n", "n": 4})
    config = stored_config(run)
    speak = vocabulary.of_engine(config.engine)
    for tree in read_trees(run):
        assert tree.problem is not None
        steps = tree.problem.meta["steps"]
        for path in labelled_paths(tree, step=config.rollout.step, thinking=None, decode=speak.decode):
            assert len(path.ends) == steps + 1
            assert all(speak.decode(path.response_ids[:e]).endswith("\n\n") for e in path.ends[:-1])


def test_soft_estimates_are_unbiased_against_the_truth(stored_run) -> None:
    """Over nodes of one depth the estimates of a balanced tree are means of independent verdicts: their mean over
    problems lies within four standard errors of the truth, at every step."""
    run = stored_run(count=60, policy={"type": "fixed", "branching": [4, 2]})
    config = stored_config(run)
    speak = vocabulary.of_engine(config.engine)
    truth = ground_truth_of(config, speak)
    by_step: dict[int, list[float]] = defaultdict(list)
    for tree in read_trees(run):
        off: dict[int, list[float]] = defaultdict(list)
        for path in labelled_paths(tree, step=config.rollout.step, thinking=None, decode=speak.decode, truth=truth):
            assert path.truth is not None
            for index, (soft, true, first) in enumerate(zip(path.soft, path.truth, path.first, strict=True)):
                if first and soft is not None:
                    off[index].append(soft - true)
        for index, values in off.items():
            by_step[index].append(statistics.mean(values))
    assert len(by_step) >= 4
    for index, differences in by_step.items():
        if len(differences) >= 30:
            error = statistics.stdev(differences) / len(differences) ** 0.5
            assert abs(statistics.mean(differences)) < 4 * error + 1e-12, f"step {index}"
    assert statistics.stdev(by_step[0]) > 0.02  # else nothing was estimated


def test_a_limit_draws_the_same_paths_for_the_same_seed(stored_run) -> None:
    run = stored_run(count=2)
    config = stored_config(run)
    speak = vocabulary.of_engine(config.engine)
    tree = next(read_trees(run))

    def drawn(seed: int) -> list[str]:
        paths = labelled_paths(tree, step=config.rollout.step, thinking=None, decode=speak.decode, limit=4, seed=seed)
        return [p.trajectory_id for p in paths]

    assert len(drawn(1)) == 4
    assert drawn(1) == drawn(1)
    assert any(drawn(1) != drawn(seed) for seed in range(2, 8))


OLD = Path(__file__).parents[2] / "stored" / "run-0.1.0"


def test_values_of_the_first_version_are_pooled_and_no_labels_unless_asked_for_by_name() -> None:
    run = open_run(str(OLD))
    config = stored_config(run)
    speak = vocabulary.of_engine(config.engine)
    seen = 0
    for stored in read_trees(run, rounds=[0]):
        for row in stored.nodes.values():
            value = stored.values[row.node_id]
            assert (value.value, value.n) == (row.value, row.value_n or 0)
            assert value.kind in (None, ValueKind.POOLED)
        shared: dict[str, Any] = {
            "step": config.rollout.step,
            "thinking": config.rollout.thinking,
            "decode": speak.decode,
        }
        for path in labelled_paths(stored, **shared):
            assert set(path.soft) == {None}
        for path in labelled_paths(stored, **shared, kinds=(ValueKind.POOLED,)):
            assert path.soft[-1] == float(bool(path.passed))
            seen += 1
    assert seen


@pytest.mark.parametrize("policy", [{"type": "best_of_n", "n": 6}, {"type": "entropy", "chains": 6}], ids=["n", "tree"])
def test_pass_at_k_of_a_run_is_that_of_its_independent_chains(stored_run, policy: dict[str, Any]) -> None:
    run = stored_run(count=9, policy=policy)
    expected: dict[int, list[float]] = {1: [], 4: []}
    for stored in read_trees(run):
        chains = chains_of(stored.tree, stored.values)
        assert chains is not None
        assert set(chains) <= {0.0, 1.0}, "a chain's own end, whatever forks it has"
        for k, found in expected.items():
            rate = pass_at_k(len(chains), int(sum(chains)), k)
            found.append(rate)
    assert summarise(run).pass_at == {k: pytest.approx(statistics.mean(found)) for k, found in expected.items()}
