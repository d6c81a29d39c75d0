"""What is told of a run whose model calls a tool: figures of calls, marks in the terminal, the tree as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from berry.pipeline.cli import app
from berry.pipeline.report.browser.tree_json import tree_json
from berry.pipeline.report.page.facts import gather
from berry.pipeline.report.pictures.tree_picture import GIVEN, draw_tree, places
from berry.pipeline.report.summary import summarise
from berry.pipeline.stages.dataset.reading import StoredTree, read_trees
from berry.pipeline.storage.run.directory import RunDir, open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_run: Any) -> RunDir:
    folder = tmp_path_factory.mktemp("tools")
    raw = {
        "problems": [{"type": "synthetic", "count": 6, "seed": 3, "steps": [3, 4]}],
        "engine": {"type": "synthetic", "call_share": 0.6, "filler_tokens": [0, 1]},
        "rollout": {
            "policy": {"type": "fixed", "branching": [2, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n\n"]},
            "tools": [{"type": "python"}],
        },
        "report": False,
    }
    return open_run(str(make_run(folder, raw)))


@pytest.fixture(scope="module")
def trees(run: RunDir) -> list[StoredTree]:
    return list(read_trees(run))


def test_calls_are_counted_as_the_trees_hold_them(run: RunDir, trees: list[StoredTree]) -> None:
    calls = summarise(run).calls
    assert calls is not None
    results = [node for stored in trees for node in stored.tree.walk() if node.given is not None]
    assert calls.calls == len(results) == sum(calls.outcomes.values())
    assert calls.tokens == sum(len(node.tokens) for node in results)
    on_paths = [
        sum(at.given is not None for at in stored.tree.path(stored.tree[row["leaf"]]))
        for stored in trees
        for row in stored.trajectories
    ]
    assert calls.a_trajectory == pytest.approx(sum(on_paths) / len(on_paths))
    assert 0 < calls.ms_median <= calls.ms_99
    assert calls.nondeterministic == 0


def test_a_report_has_the_calls_and_a_run_without_tools_has_none(run: RunDir, tmp_path: Path, make_run: Any) -> None:
    rows = {name: value for s in gather(run).sections if s.title == "Tool calls" for name, value in s.rows}
    assert rows["ended ok"].endswith(f"of {rows['ended ok'].split()[0]}")
    raw = {"problems": [{"type": "synthetic", "count": 2}], "engine": {"type": "synthetic"}, "report": False}
    without = open_run(str(make_run(tmp_path, raw)))
    assert summarise(without).calls is None
    assert not any(section.title == "Tool calls" for section in gather(without).sections)


def test_what_was_given_is_told_apart_in_the_tree_as_data(trees: list[StoredTree]) -> None:
    nodes = {node["id"]: node for stored in trees[:1] for node in tree_json(stored)["nodes"]}
    given = [node for node in nodes.values() if node["given"]]
    assert given
    for node in given:
        assert node["given"]["role"] == "tool"
        assert node["given"]["outcome"] == "ok"
        assert node["given"]["ms"] > 0
        assert nodes[node["parent"]]["calls"]
    assert sum(node["calls"] for node in nodes.values()) == len(given)


def test_the_picture_has_a_bar_a_node_and_results_in_their_own_colour(trees: list[StoredTree]) -> None:
    from matplotlib.colors import to_hex

    made = tree_json(trees[0])
    figure = draw_tree(made)
    bars = figure.axes[0].patches
    assert len(bars) == len(made["nodes"])
    pink = [bar for bar in bars if to_hex(bar.get_facecolor()).upper() == GIVEN]
    assert len(pink) == sum(node["given"] is not None for node in made["nodes"])


def test_an_estimate_outside_0_to_1_has_the_colour_of_the_end(trees: list[StoredTree]) -> None:
    """As spared branches, which weigh more, may have it."""
    made = tree_json(trees[0])
    drawn = {}
    for value in (-0.4, 0.0, 1.0, 1.7):
        nodes = [{**node, "value": value, "given": None} for node in made["nodes"]]
        drawn[value] = [bar.get_facecolor() for bar in draw_tree({**made, "nodes": nodes}).axes[0].patches]
    assert drawn[-0.4] == drawn[0.0] != drawn[1.0] == drawn[1.7]


def test_leaves_have_rows_of_their_own_and_parents_stand_in_the_middle() -> None:
    nodes = [
        {"id": "0", "parent": None, "tokens": 9},
        {"id": "1", "parent": "0", "tokens": 4},
        {"id": "2", "parent": "1", "tokens": 3},
        {"id": "3", "parent": "1", "tokens": 2},
        {"id": "4", "parent": "0", "tokens": 5},
    ]
    starts, rows, count = places(nodes)
    assert starts == {"0": 0, "1": 0, "2": 4, "3": 4, "4": 0}
    assert rows == {"2": 0, "3": 1, "4": 2, "1": 0.5, "0": 1.25}
    assert count == 3


def test_show_marks_results_and_writes_the_picture(run: RunDir, trees: list[StoredTree], tmp_path: Path) -> None:
    place = str(run.location.root)
    problem = trees[0].problem_id
    drawn = CliRunner().invoke(app, ["show", place, problem])
    results = sum(node.given is not None for node in trees[0].tree.walk())
    assert drawn.output.count("tool ") == results > 0
    for name in ("tree.png", "tree.svg"):
        made = CliRunner().invoke(app, ["show", place, problem, "--picture", str(tmp_path / name)])
        assert made.exit_code == 0, made.output
        assert (tmp_path / name).stat().st_size > 1000
    refused = CliRunner().invoke(app, ["show", place, problem, "--picture", "tree.pdf"])
    assert "name a .png or .svg file" in str(refused.exception or refused.output)


def test_show_colours_what_was_given_in_a_trajectory(
    run: RunDir, trees: list[StoredTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    kept = next(row for stored in trees for row in stored.kept if any(s["role"] == "tool" for s in row["segments"]))
    words = ["show", str(run.location.root), kept["problem_id"], "--trajectory", kept["trajectory_id"]]
    shown = CliRunner().invoke(app, words).output
    coloured = [part.partition("\x1b[0m")[0] for part in shown.split("\x1b[35m")[1:]]
    assert sum("```output" in part for part in coloured) == sum(s["role"] == "tool" for s in kept["segments"])
    assert not any("```python" in part for part in coloured)
