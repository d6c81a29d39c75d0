"""Export formats hold what they promise: kept alone, no row twice, pairs drawn, ids as sampled; others can be added."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from berry.pipeline.core.values.estimate import Value
from berry.pipeline.errors import ConfigError, InputError
from berry.pipeline.records import ValueKind
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.export import registry
from berry.pipeline.stages.export.base import ExportFormat, Filters, layout, origin_of
from berry.pipeline.stages.export.export import MANIFEST, ExportRequest, export
from berry.pipeline.stages.export.registry import EXPORTS, export_format, register_export
from berry.pipeline.stages.training.sibling_pairs import _draw
from berry.pipeline.storage.run.directory import RunDir

Rows = list[dict[str, Any]]


@pytest.fixture
def exported(stored_run: Callable[..., RunDir], tmp_path: Path) -> Callable[..., tuple[RunDir, Rows]]:
    """exported("sft", tokens=True) -> the run and its rows, of all problems in one file."""

    def make(name: str, trainer: str = "trl", *, run: dict[str, Any] | None = None, **request: Any) -> Any:
        stored = stored_run(**{"count": 8, **(run or {})})
        target = tmp_path / "out"
        export(stored, ExportRequest(name, trainer, heldout_share=0.0, **request), str(target), replace=True)
        return stored, pq.read_table(target / "train.parquet").to_pylist()

    return make


DROPS: dict[str, Any] = {"pruning": [{"type": "verdict"}, {"type": "shortest", "k": 1}]}


def test_chosen_answers_are_kept_ones_unless_asked_otherwise(exported) -> None:
    run, rows = exported("dpo", run=DROPS)
    kept = {(tree.problem_id, row["response"]) for tree in read_trees(run) for row in tree.kept}
    chosen = {(row["problem_id"], row["chosen"][0]["content"]) for row in rows}
    assert chosen
    assert chosen <= kept
    _, everything = exported("dpo", run={**DROPS, "name": "again"}, source="trajectories")
    assert not {(row["problem_id"], row["chosen"][0]["content"]) for row in everything} <= kept


def test_examples_are_kept_ones_unless_asked_otherwise(exported) -> None:
    run, rows = exported("sft", run=DROPS)
    assert len(rows) == sum(len(tree.kept) for tree in read_trees(run))
    run, rows = exported("sft", run={**DROPS, "name": "again"}, source="trajectories")
    assert len(rows) == sum(t["verdict"] == "pass" for tree in read_trees(run) for t in tree.trajectories)


@pytest.mark.parametrize("name", ["orm", "prm"])
def test_no_row_is_there_twice_and_none_is_lost(exported, name: str) -> None:
    many = {"policy": {"type": "best_of_n", "n": 40}, "filler_tokens": [0, 0]}
    run, rows = exported(name, run=many)
    told = [(row["problem_id"], str(row["completions"] if name == "prm" else row["completion"])) for row in rows]
    assert len(told) == len(set(told))
    checked = sum(t["verdict"] in ("pass", "fail") for tree in read_trees(run) for t in tree.trajectories)
    assert sum(row["samples"] for row in rows) == checked > len(rows), "some answers must have been equal"


@pytest.mark.parametrize("name", ["sft", "orm", "prm"])
def test_token_rows_are_the_ids_that_were_sampled(exported, name: str) -> None:
    run, rows = exported(name, tokens=True)
    sampled = {
        t["trajectory_id"]: [*tree.tree.prompt_ids, *tree.tree.response_ids(t["leaf"])]
        for tree in read_trees(run)
        for t in tree.trajectories
    }
    assert rows
    for row in rows:
        assert row["input_ids"] == sampled[row["source_id"]]
        if name == "prm":
            assert len(row["step_ends"]) == len(row["labels"])
            assert row["step_ends"][-1] == len(row["input_ids"]) - 1
        else:
            assert len(row["loss_mask"]) == len(row["input_ids"])
            assert row["loss_mask"] == sorted(row["loss_mask"]), "the prompt first, and only it, is not learned"


@pytest.mark.parametrize("name", ["dpo", "pairs"])
def test_token_pairs_mask_what_both_begin_with(exported, name: str) -> None:
    _, rows = exported(name, tokens=True)
    assert name == "dpo" or any(row["shared_tokens"] for row in rows)
    for row in rows:
        same = row["prompt_tokens"] + row["shared_tokens"]
        assert row["prompt_tokens"] > 0
        assert row["chosen_ids"][:same] == row["rejected_ids"][:same]
        for side in ("chosen", "rejected"):
            mask = row[f"{side}_loss_mask"]
            assert len(mask) == len(row[f"{side}_ids"])
            assert mask == [0] * same + [1] * (len(mask) - same)


class _Child:
    def __init__(self, number: int) -> None:
        self.node_id, self.index = f"n{number}", number


def test_two_million_pairs_are_drawn_and_not_listed() -> None:
    import random

    children: Any = [_Child(i) for i in range(2000)]
    labels = {
        child.node_id: Value(float(i % 2), 0.0, 1.0, 1, 1.0, ValueKind.ESTIMATE, bool(i % 2))
        for i, child in enumerate(children)
    }
    begun = time.perf_counter()
    pairs = _draw(children, labels, Filters(per_node=64), random.Random(1))
    assert time.perf_counter() - begun < 1.0
    assert len(pairs) == len({(a.node_id, b.node_id) for a, b in pairs}) == 64
    assert all(labels[a.node_id].value == 1.0 and labels[b.node_id].value == 0.0 for a, b in pairs)
    assert len({a.node_id for a, _ in pairs}) > 50, "drawn from all over"


def test_every_pair_is_drawn_equally_often() -> None:
    import random
    from collections import Counter

    children: Any = [_Child(i) for i in range(4)]
    values = (0.0, 0.2, 0.2, 0.9)
    labels = {
        c.node_id: Value(v, 0.0, 1.0, 5, 1.0, ValueKind.ESTIMATE, True) for c, v in zip(children, values, strict=True)
    }
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(4000):
        [(a, b)] = _draw(children, labels, Filters(per_node=1), random.Random(seed))
        seen[a.node_id, b.node_id] += 1
    assert set(seen) == {("n1", "n0"), ("n2", "n0"), ("n3", "n0"), ("n3", "n1"), ("n3", "n2")}
    assert all(abs(count / 4000 - 0.2) < 0.03 for count in seen.values())


def test_a_system_prompt_is_part_of_a_process_reward_prompt(exported) -> None:
    _, rows = exported("prm", run={"rollout": {"system_prompt": "Be brief."}})
    assert all(row["prompt"].startswith("Be brief.\n\n") for row in rows)


def test_rl_rows_come_with_a_reward_that_gives_the_run_s_verdicts(
    exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import berry
    from berry.pipeline.api.reward import reward

    run, rows = exported("rl", "verl")
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["files"] == ["reward.py"]
    monkeypatch.setattr(berry, "reward", reward, raising=False)
    spec = importlib.util.spec_from_file_location("shipped_reward", tmp_path / "out" / "reward.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    by_problem = {row["problem_id"]: row for row in rows}
    compared = 0
    for tree in read_trees(run):
        row = by_problem[tree.problem_id]
        for t in tree.trajectories[:3]:
            score = module.compute_score(
                row["data_source"], t["response"], row["reward_model"]["ground_truth"], row["extra_info"]
            )
            assert score["score"] == float(t["verdict"] == "pass"), t["response"]
            compared += 1
        texts = [t["response"] for t in tree.trajectories[:2]]
        spec_text = row["extra_info"]["verifier"]
        told = module.trl_reward([[{"role": "assistant", "content": text}] for text in texts], [spec_text] * 2)
        assert told == [float(t["verdict"] == "pass") for t in tree.trajectories[:2]]
    assert compared > 10


# ---- others' formats -----------------------------------------------------------------------------------------------


def _counted(stored: Any, _context: Any) -> Iterator[Any]:
    yield type("Counted", (), {"origin": origin_of(stored, stored.problem_id), "n": len(stored.trajectories)})()


COUNTS = ExportFormat(_counted, {"mine": layout([("n", pa.int32())], lambda r: {"n": r.n})}, nothing="no tree")


@pytest.fixture
def no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_loaded", "_added"):
        monkeypatch.setattr(EXPORTS, name, type(getattr(EXPORTS, name))(getattr(EXPORTS, name)))
    monkeypatch.setattr(EXPORTS, "_announced", None)


@pytest.mark.usefixtures("no_others")
def test_a_registered_format_exports_like_berry_s_own(exported) -> None:
    register_export("counts", COUNTS)
    run, rows = exported("counts", "mine")
    assert sum(row["n"] for row in rows) == sum(len(tree.trajectories) for tree in read_trees(run))
    with pytest.raises(ConfigError, match="'sft' is registered already"):
        register_export("sft", COUNTS)


@pytest.mark.usefixtures("no_others")
def test_an_unknown_format_is_one_error_that_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"'stf' is not known; did you mean sft\? \(there are sft, dpo, pairs"):
        export_format("stf")


@pytest.mark.usefixtures("no_others")
def test_two_packages_of_one_name_are_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [metadata.EntryPoint("counts", f"{name}:COUNTS", "berry.exports") for name in ("one", "two")]
    monkeypatch.setattr("berry.pipeline.extensions.entry_points", lambda group: entries)
    with pytest.raises(InputError, match="registered by two packages, one:COUNTS and two:COUNTS"):
        registry.export_format("counts")
