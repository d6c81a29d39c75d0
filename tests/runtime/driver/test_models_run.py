"""A run of two models, killed and gone on with: the same problems go on from one to the other, or the one labels the
steps of the other, and rows say which."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.values.annotated import completions
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.records import ValueKind
from berry.pipeline.stages.dataset.reading import read_trees, stored_config
from berry.pipeline.storage.run.directory import open_run

ENGINES = {
    "small": {
        "type": "synthetic",
        "error_rate": [0.05, 0.7],
        "tokens_per_s": 60,
        "max_num_seqs": 24,
        "role": {"cpus": 0.5},
    },
    "large": {
        "type": "synthetic",
        "error_rate": [0.0, 0.1],
        "tokens_per_s": 60,
        "max_num_seqs": 16,
        "role": {"cpus": 0.5},
    },
}
ROWS = "select trajectory_id, problem_id, mode, model, verdict, kept from '{}/trajectories/*.parquet' order by 1"
UNSOLVED = (
    "select split_part(problem_id, '@', 1) from '{}/trajectories/*.parquet' where mode = 'small' group by 1 "
    "having count(*) filter (verdict = 'pass') = 0 order by 1"
)
WENT_ON = (
    "select distinct split_part(problem_id, '@', 1) from '{}/trajectories/*.parquet' where mode = 'large' order by 1"
)
MADE_BY = (
    "select distinct mode, model, engine_id, weights_version from '{}/nodes/*.parquet' where parent >= 0 order by 1"
)


@pytest.mark.slow
def test_killed_midway_and_run_again_the_same_problems_go_on(berry: Any, until: Callable[..., None]) -> None:
    problems = [{"type": "synthetic", "count": 20, "seed": 3}]
    routing = {"type": "escalate", "order": ["small", "large"], "max_problems": 6}
    rollout = {"policy": {"type": "best_of_n", "n": 4}, "step": {"type": "delimiter", "delimiters": ["\n"]}}
    raw = {"engines": ENGINES, "routing": routing, "rollout": rollout, "problems": problems}
    config = str(berry.config(engine=None, **raw, storage={"compact": False}))
    process = berry.start("run", config, "--local")
    commits, journal = (berry.folder / f"runs/job/round=0/{name}" for name in ("trajectories", "journal"))
    until(
        lambda: any(commits.glob("shard-*[13579].parquet")) and any(journal.glob("lease-*/*")),
        what="a committed lease of what went on, and a journal",
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    fast = ("engines.small.tokens_per_s=null", "engines.large.tokens_per_s=null")
    code, out = berry.run("run", config, "--local", *fast, "--run", "whole")
    assert code == 0, out
    assert "20 problems go to small, those that it never solves on to large, at most 6" in out
    code, out = berry.run("run", config, "--local")
    assert code == 0, out
    assert "resuming: " in out
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    unsolved = berry.query("runs/job", UNSOLVED)
    assert len(unsolved) > 6
    assert len(berry.query("runs/job", WENT_ON)) == 6
    assert set(berry.query("runs/job", WENT_ON)) < set(unsolved)
    assert berry.query("runs/job", MADE_BY) == [
        ("large", "synthetic-large", "large-0", "v0"),
        ("small", "synthetic-small", "small-0", "v0"),
    ]
    figures = json.loads((berry.folder / "runs/job/metrics/run.json").read_text())["engines"]
    assert {name: its["problems"] for name, its in figures.items()} == {"small": 20, "large": 6}
    for words in (("check", "runs/job"), ("compact", "runs/job"), ("reverify", "runs/job"), ("check", "runs/job")):
        code, out = berry.run(*words)
        assert code == 0, (words, out)
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    assert berry.query("runs/job/revisions/reverified", ROWS) == berry.query("whole", ROWS)
    code, out = berry.run("status", "runs/job")
    assert "20 problems" in out
    assert "6 problems" in out
    code, out = berry.run("annotate", "runs/job", "--local", "--engine", "large", "--of", "1", "-k", "2", *fast)
    assert code == 0, out
    labelled = berry.query("runs/job/revisions/annotated", ROWS)
    assert [row for row in labelled if row in set(berry.query("whole", ROWS))] == berry.query("whole", ROWS)
    assert {row[2:4] for row in labelled if row not in set(berry.query("whole", ROWS))} == {
        ("small", "synthetic-large"),
        ("large", "synthetic-large"),
    }
    for words, message in (
        (("annotate", "runs/job"), "berry annotate RUN --engine NAME"),
        (("annotate", "runs/job", "--engine", "third"), "annotation.engine: 'third' is none of `engines`"),
        (
            ("weights", "push", "runs/job", "."),
            "--engine is missing: name the engine whose weights they are",
        ),
        (("weights", "push", "runs/job", ".", "--engine", "big"), "--engine big: name the engine"),
    ):
        code, out = berry.run(*words)
        assert (code, message in out) == (2, True), out


TAUGHT = {
    "problems": [{"type": "synthetic", "count": 16, "seed": 3}],
    "engines": {
        "small": {**ENGINES["small"], "error_rate": [0.05, 0.3], "tokens_per_s": 400},
        "large": {**ENGINES["large"], "error_rate": [0.05, 0.3], "tokens_per_s": 400},
    },
    "routing": {"type": "teacher", "student": "small", "teacher": "large", "of": 3, "completions": 6},
    "rollout": {"policy": {"type": "best_of_n", "n": 4}, "step": {"type": "delimiter", "delimiters": ["\n"]}},
    "storage": {"lease_problems": 2},
}
LABELS = "runs/job/revisions/labels"
LABEL_ROWS = (
    "select trajectory_id, model, answer, verdict, kept, drop_reason from '{}/trajectories/*.parquet' order by 1"
)
LABEL_NODES = "select problem_id, node, model, value, value_n, value_kind from '{}/nodes/*.parquet' order by 1, 2"
COMPLETED_BY = (
    "select distinct n.model, n.weights_version, split_part(n.engine_id, '-', 1), "
    "t.drop_reason is not distinct from 'annotation' "
    "from '{}/nodes/*.parquet' n join '{}/trajectories/*.parquet' t "
    "on n.problem_id = t.problem_id and n.node::varchar = t.leaf::varchar order by all"
)


@pytest.mark.slow
def test_a_teacher_labels_the_students_steps_through_a_kill(berry: Any, until: Callable[..., None]) -> None:
    """Its labels are held against its own true chances of passing from there."""
    config = str(berry.config(engine=None, **TAUGHT))
    process = berry.start("run", config, "--local")
    labels = berry.folder / LABELS / "round=0"
    until(
        lambda: any(labels.glob("trajectories/shard-*.parquet")) and any(labels.glob("journal/lease-*/*")),
        what="labels of a lease that is committed, and a journal of others",
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    fast = ("engines.small.tokens_per_s=null", "engines.large.tokens_per_s=null")
    for words in ((config, *fast, "--run", "whole"), (config,)):
        code, out = berry.run("run", words[0], "--local", *words[1:])
        assert code == 0, out
        assert "16 problems go to small; large completes each step of 3 trajectories a problem 6 times" in out
        assert "completions by large label the steps of 16 problems" in out
    assert "resuming: " in out
    whole = "whole/revisions/labels"
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    assert berry.query(LABELS, LABEL_ROWS) == berry.query(whole, LABEL_ROWS)
    assert berry.query(LABELS, LABEL_NODES) == berry.query(whole, LABEL_NODES)
    assert berry.query(LABELS, COMPLETED_BY) == [
        ("synthetic-large", "v0", "large", True),
        ("synthetic-small", "v0", "small", False),
    ]
    assert [row for row in berry.query(LABELS, ROWS) if row[3] != "synthetic-large"] == berry.query("runs/job", ROWS)
    _hold_against_the_truth(berry.folder / LABELS)
    figures = json.loads((berry.folder / "whole/metrics/run.json").read_text())["engines"]
    drawn = sum(row[1] == "synthetic-large" for row in berry.query(whole, LABEL_ROWS))
    assert (figures["large"]["problems"], figures["large"]["trajectories"]) == (16, drawn)
    code, out = berry.run("status", "whole")
    assert f"16 problems, {drawn:,} completions, {figures['large']['generated']:,} tokens generated" in out
    for words in (("check", "runs/job"), ("check", LABELS), ("export", LABELS, "--format", "prm", "-o", "prm")):
        code, out = berry.run(*words)
        assert code == 0, (words, out)
    code, out = berry.run("run", config, "--local")
    assert (code, "nothing to do" in out) == (0, True), out


def _hold_against_the_truth(place: Path) -> None:
    """Values of completed prefixes against the teacher's exact chance to pass from there."""
    run = open_run(str(place))
    engine = stored_config(run).on_engine("large").engine
    assert isinstance(engine, SyntheticEngine)
    teacher = Synthetic(engine)
    off = variance = 0.0
    completed = 0
    for tree in read_trees(run):
        for node in tree.tree.walk():
            drawn = completions(node)
            if not drawn:
                continue
            value = tree.values[node.node_id]
            assert (value.kind, value.n) == (ValueKind.ESTIMATE, 6)
            assert value.value is not None
            chance = teacher.true_value([*tree.tree.prompt_ids, *tree.tree.response_ids(node.node_id)])
            assert chance > 0 or value.value == 0
            off += 6 * (value.value - chance)
            variance += 6 * chance * (1 - chance)
            completed += 1
    assert completed > 50
    assert abs(off) < 4 * variance**0.5
