"""`berry annotate`, whole, on the synthetic engine: labels of a stored run as a revision; resumed after a kill."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from berry.pipeline.records import ValueKind
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.storage.run.directory import open_run

BEAM = {
    "problems": [{"type": "synthetic", "count": 12, "seed": 3}],
    "rollout": {
        "policy": {"type": "beam", "beams": 2, "width": 3, "spare": 0},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
    },
}
REVISION = "runs/job/revisions/annotated"
ROWS = "select trajectory_id, answer, verdict, kept, drop_reason from '{}/trajectories/*.parquet' order by 1"
LABELS = "select trajectory_id, step_values, step_counts, step_kinds from '{}/kept/*.parquet' order by 1"
NODES = "select problem_id, node::varchar, value, value_n, value_kind from '{}/nodes/*.parquet' order by 1, 2"


@pytest.fixture
def beam(berry: Any) -> Any:
    code, out = berry.run("run", str(berry.config(**BEAM)), "--local")
    assert code == 0, out
    return berry


@pytest.mark.slow
def test_a_run_without_labels_gets_them_and_every_reader_sees_them(beam: Any) -> None:
    code, out = beam.run("export", "runs/job", "--format", "prm", "-o", "before")
    assert code != 0
    assert "berry annotate runs/job" in out, "the error names what makes labels"
    code, out = beam.run("reprune", "runs/job", "pruning=[{type: verdict}, {type: difficulty, low: 0.1}]")
    assert code == 2
    assert "berry annotate runs/job" in out, "so does that of a rule which needs pass rates"
    own = beam.query("runs/job", ROWS)
    code, out = beam.run("annotate", "runs/job", "--local", "--of", "kept", "-k", "4")
    assert code == 0, out
    assert "drawn to label prefixes" in out
    assert beam.query("runs/job", ROWS) == own, "the run itself is left alone"
    labelled = beam.query(REVISION, ROWS)
    assert [row for row in labelled if row[4] != "annotation"] == own
    assert any(row[4] == "annotation" for row in labelled)
    for _, values, counts, kinds in beam.query(REVISION, LABELS):
        assert None not in values
        assert set(counts[:-1]) <= {4}
        assert set(kinds) == {"estimate"}
    for words in (
        ["check", REVISION],
        ["inspect", REVISION],
        ["show", REVISION, "synthetic-3-0"],
        ["export", REVISION, "--format", "prm", "-o", "prm"],
        ["export", REVISION, "--format", "orm", "-o", "orm"],
        ["reverify", REVISION],
        ["reprune", REVISION, "pruning=[{type: verdict}, {type: difficulty, low: 0.1}]"],
    ):
        code, out = beam.run(*words)
        assert code == 0, out
    reverified = f"{REVISION}/revisions/reverified"
    assert beam.query(reverified, NODES) == beam.query(REVISION, NODES)


@pytest.mark.slow
def test_what_is_stored_reads_as_the_search_valued_it(beam: Any) -> None:
    for words in (["--of", "2", "-k", "3"], ["--method", "omega", "--of", "dropped", "-k", "4", "--as", "omega"]):
        code, out = beam.run("annotate", "runs/job", "--local", *words)
        assert code == 0, out
    for name in ("annotated", "omega"):
        place = f"runs/job/revisions/{name}"
        stored = {(p, n): (value, count, kind) for p, n, value, count, kind in beam.query(place, NODES)}
        trees = list(read_trees(open_run(str(beam.folder / place))))
        assert len(trees) == 12
        kinds: set[str | None] = set()
        for tree in trees:
            assert not any(row["drop_reason"] == "annotation" for row in tree.trajectories)
            for node in tree.tree.walk():
                value = tree.values[node.node_id]
                kinds.add(value.kind)
                assert stored[tree.problem_id, node.node_id] == (value.value, value.n, value.kind)
        assert ValueKind.ESTIMATE in kinds


@pytest.mark.slow
def test_bad_input_is_one_error_that_names_the_remedy(beam: Any) -> None:
    for words, wanted in (
        (["--of", "some"], "of"),
        (["--method", "mcts"], "shepherd"),
        (["--round", "3"], "nothing of round 3 is committed"),
        (["seed=3"], "only engine, engines, cluster, verification, problems can change"),
        (["problems.0.count=13"], "the problems have changed"),
    ):
        code, out = beam.run("annotate", "runs/job", "--local", *words)
        assert code == 2, out
        assert wanted in out
        assert "Traceback" not in out
    code, out = beam.run("annotate", "runs/none", "--local")
    assert code == 3
    assert "holds no run" in out
    assert beam.run("annotate", "runs/job", "--local", "-k", "2")[0] == 0
    code, out = beam.run("annotate", "runs/job", "--local", "-k", "3")
    assert code == 2
    assert "annotation.completions: 2 in the run, 3 now" in out
    assert "--as NAME" in out
    code, out = beam.run("run", f"{REVISION}/run.yaml", "--local")
    assert code == 2
    assert "berry annotate" in out


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_killed_midway_and_run_again_it_labels_as_if_nothing_had_happened(
    berry: Any, until: Callable[..., None], signal_number: signal.Signals
) -> None:
    """In leases of one problem, so that some are committed and some are not."""
    beam, slow = berry, "engine.tokens_per_s=100"
    assert beam.run("run", str(beam.config(**BEAM, storage={"lease_problems": 1})), "--local")[0] == 0
    words = ["annotate", "runs/job", "--local", "-k", "4"]
    process = beam.start(*words, slow)
    commits = beam.folder / REVISION / "round=0/trajectories"
    journal = beam.folder / REVISION / "round=0/journal"
    until(
        lambda: len(list(commits.glob("shard-*.parquet"))) >= 1 and any(journal.glob("lease-*/*")),
        what="a committed lease and a journal",
    )
    process.send_signal(signal_number)
    process.communicate(timeout=30)
    assert len(list(commits.glob("shard-*.parquet"))) < 12, "it was over before it was killed"
    assert list(journal.iterdir())
    code, out = beam.run(*words, slow)
    assert code == 0, out
    assert "resuming" in out
    assert beam.run(*words, "--as", "whole")[0] == 0
    for query in (ROWS, NODES, LABELS):
        assert beam.query(REVISION, query) == beam.query("runs/job/revisions/whole", query)


@pytest.mark.slow
def test_where_a_majority_elected_the_answer_completions_are_held_against_it(berry: Any) -> None:
    row = {"prompt": "Start with 4. Then add 5. What is the result?", "verifier": {"type": "majority"}}
    problems = "".join(json.dumps({"id": f"p{i}", **row}) + "\n" for i in range(3))
    (berry.folder / "p.jsonl").write_text(problems)
    policy = {"type": "best_of_n", "n": 12}
    config = berry.config(problems=[{"type": "file", "path": "p.jsonl"}], rollout={**BEAM["rollout"], "policy": policy})
    assert berry.run("run", str(config), "--local")[0] == 0
    code, out = berry.run("annotate", "runs/job", "--local", "--of", "2", "-k", "4")
    assert code == 0, out
    verdicts = "select distinct verdict from '{}/trajectories/*.parquet' where drop_reason = 'annotation' order by 1"
    assert ("pass",) in berry.query(REVISION, verdicts)
    assert berry.query(REVISION, "select count(*) from '{}/nodes/*.parquet' where value_n = 4")[0][0] > 0
