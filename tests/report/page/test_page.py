"""The report of any run is one page that needs no network: hostile text is text, what is missing is said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from berry.pipeline.cli import app
from berry.pipeline.report.page import data_card, samples
from berry.pipeline.report.page.page import make_report, script_json, write_report
from berry.pipeline.report.pages import rounded
from berry.pipeline.storage.run.directory import RunDir, open_run

STORED = Path(__file__).resolve().parents[2] / "stored" / "run-0.1.0"
HOSTILE = "</script><script>alert(1)</script><!-- \u202e\u2028 <b>bold</b> & 'quoted'"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_run: Any) -> Path:
    folder = tmp_path_factory.mktemp("made")
    rows = [
        {"id": f"p{i}", "prompt": f"{HOSTILE} {i}+1?", "verifier": {"type": "math", "answer": str(i + 1)}}
        for i in range(30)
    ]
    (folder / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = {
        "problems": [{"type": "file", "path": "hostile.jsonl"}],
        "engine": {"type": "synthetic"},
        "rollout": {
            "policy": {"type": "fixed", "branching": [3, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
        },
        "storage": {"lease_problems": 2, "compact": False},
    }
    make_run(folder, raw)
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RunDir:
    shutil.copytree(made, tmp_path / "run")
    return open_run(str(tmp_path / "run"))


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def test_a_page_holds_everything_and_refers_to_nothing(run: RunDir):
    page = make_report(run).decode()
    assert "SYNTHETIC" in page.upper()
    assert "From trajectories to kept" in page
    assert "Values of nodes" in page
    assert re.search(r'(src|href)\s*=\s*"(?!#)', re.sub(r"<svg.*?</svg>", "", page, flags=re.S)) is None
    assert "default-src 'none'" in page
    data = data_of(page)
    assert len(data["trees"]) == samples.TREES == len(data["rows"])
    rates = [row["passed"] / row["checked"] for row in data["rows"] if row["checked"]]
    assert rates == sorted(rates)


def test_what_gave_no_answer_counts_neither_as_right_nor_as_wrong():
    leaves = [{"outcome": name, "kept": False} for name in ("pass", "wrong", "no_answer", "truncated", "unverifiable")]
    tree = {"problem": "p", "round": 0, "nodes": [{"leaf": leaf} for leaf in (*leaves, None)]}
    row = samples.list_row(tree)
    assert (row["passed"], row["checked"], row["leaves"]) == (1, 2, 5)


def test_the_data_card_says_what_the_rows_were_made_of(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    rows = data_card.data_card(run)
    assert ("verifier", "math", "30 problems") in rows
    assert ("source", "not named; licence: not stated by the problem file", "30 problems") in rows
    segments = [int(many.split()[0]) for what, _, many in rows if what == "kind of value"]
    assert sum(segments) == sum(int(many.split()[0]) for what, _, many in rows if what == "weights") > 0
    assert ("policy", "type: fixed, branching: [3, 2]", "") in rows
    assert "Data card" in make_report(run).decode()
    monkeypatch.setattr(data_card, "MOST_PROBLEMS", 10)
    assert ("verifier", "math", "10 of the first 10 problems") in data_card.data_card(run)


def test_a_run_whose_problem_files_are_gone_has_a_data_card(run: RunDir, made: Path):
    kept = made.parent / "hostile.jsonl"
    away = kept.rename(kept.with_suffix(".away"))
    try:
        assert ("source", data_card.GONE, "") in data_card.data_card(run)
    finally:
        away.rename(kept)


def test_hostile_text_stays_text(run: RunDir):
    page = make_report(run).decode()
    assert "alert(1)</script>" not in page
    assert "<b>bold</b>" not in page
    assert HOSTILE in data_of(page)["trees"][0]["prompt"]


def test_json_in_a_script_can_not_end_it():
    text = script_json({"a": HOSTILE})
    assert "<" not in text
    assert ">" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"a": HOSTILE}


def test_nodes_carry_values_and_leaves_their_fate(run: RunDir):
    tree = data_of(make_report(run).decode())["trees"][-1]
    (root,) = [node for node in tree["nodes"] if node["parent"] is None]
    assert root["kind"] == "estimate"
    assert 0 <= root["low"] <= root["value"] <= root["high"] <= 1
    ids = {node["id"] for node in tree["nodes"]}
    assert all(node["parent"] in ids for node in tree["nodes"] if node["parent"] is not None)
    leaves = [node["leaf"] for node in tree["nodes"] if node["leaf"]]
    assert {leaf["verdict"] for leaf in leaves} <= {"pass", "fail", "unverifiable"}
    assert all(leaf["kept"] or leaf["drop"] for leaf in leaves)


def test_large_texts_are_shortened_and_said(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "MOST_CHARS", 10)
    monkeypatch.setattr(samples, "MOST_NODES", 3)
    tree = data_of(make_report(run).decode())["trees"][0]
    assert "3 of" in tree["note"]
    assert "up to 10 characters" in tree["note"]
    assert all(len(node["text"]) <= 11 for node in tree["nodes"])


def test_the_page_stays_small_however_large_trees_are(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "MOST_BYTES", 9_000)
    page = make_report(run)
    assert 0 < len(data_of(page.decode())["trees"]) < samples.TREES
    assert len(page) < 300_000


def test_a_damaged_shard_is_said_and_the_rest_shown(run: RunDir):
    shard = sorted(Path(run.location.root).glob("round=0/nodes/*.parquet"))[0]
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    page = make_report(run).decode()
    assert "What could not be read" in page
    assert shard.name in page
    assert data_of(page)["trees"]


def test_an_empty_run_says_so(tmp_path: Path, made: Path):
    (tmp_path / "run").mkdir()
    for name in ("run.yaml", "versions.json"):
        shutil.copy(made / name, tmp_path / "run" / name)
    page = make_report(open_run(str(tmp_path / "run"))).decode()
    assert "No trajectory is committed yet" in page
    assert "No tree is committed yet" in page


@pytest.mark.slow
def test_a_run_of_an_earlier_version_has_a_page(tmp_path: Path):
    shutil.copytree(STORED, tmp_path / "run")
    run = open_run(str(tmp_path / "run"))
    assert write_report(run).endswith("report.html")
    page = (tmp_path / "run" / "report.html").read_text()
    assert data_of(page)["trees"]


def test_the_page_says_how_many_problems_overlap_with_evaluation_sets(run: RunDir):
    path = Path(run.location.root) / "versions.json"
    near = {"item": "eval.jsonl, line 1", "overlap": 1.0}
    screening = {"files": {"eval.jsonl": 1}, "looked_at": 12, "left_out": True, "overlapping": {"p0": near}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "screening": screening}))
    page = make_report(open_run(run.location.root)).decode()
    assert "eval.jsonl: 1 of 12 problems overlap and were left out" in page


def test_progress_is_drawn_over_time(run: RunDir):
    rows = [{"at": 10.0 * i, "tokens_per_s": 5.0 * i, "running": i, "sandbox_queue": 0} for i in range(5)]
    folder = Path(run.location.root) / "metrics"
    for old in folder.glob("progress-*.jsonl"):
        old.unlink()
    (folder / "progress-0000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "Over time" in make_report(run).decode()


def test_costs_audits_and_the_evaluation_are_on_the_page(run: RunDir):
    assert "cost of nodes" not in make_report(run).decode()
    config = run.config() or {}
    for node in config["cluster"]["nodes"].values():
        node["usd_per_hour"] = 7200.0
    run.location.put("run.yaml", json.dumps(config).encode())
    pair = {"a": "engine-a", "b": "engine-b", "count": 40, "above": 39, "worst": {"nats": 0.25}, "disagrees": True}
    run.write_metrics("recompute", {"pairs": [pair], "fenced": ["engine-b"]})
    run.write_metrics("run", {**(run.metrics("run") or {}), "wall_s": 10.0})
    done = CliRunner().invoke(app, ["eval", run.location.url])
    assert done.exit_code == 0, (done.output, done.exception)
    page = make_report(open_run(run.location.url)).decode()
    assert "$20: every node of the cluster" in page
    assert "engine-a, engine-b" in page
    assert "engines were fenced" in page
    assert re.search(r"<td>majority</td><td>\d+</td><td>[\d.]+% \([\d.]+% to [\d.]+%\)</td>", page)


@pytest.mark.parametrize(
    ("value", "text"), [(1234.6, "1,235"), (0.01234, "0.0123"), (1.234, "1.23"), (2.5e6, "2,500,000"), (0.0, "0")]
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert rounded(value) == text
