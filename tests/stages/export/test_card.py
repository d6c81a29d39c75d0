"""The data card says what the rows are of, in the run's own figures, and has a header that the Hub reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.storage.run.directory import RunDir, open_run


@pytest.fixture
def carded(stored_run: Callable[..., RunDir], tmp_path: Path) -> Callable[..., tuple[RunDir, dict[str, Any], str]]:
    """carded("sft") -> the run, the header of its card, and the text below it."""

    def make(name: str, **request: Any) -> tuple[RunDir, dict[str, Any], str]:
        run = stored_run(count=12)
        export(run, ExportRequest(name, **request), str(tmp_path / "out"))
        _, header, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
        return run, yaml.safe_load(header), text

    return make


def test_the_header_names_the_splits_that_are_there(carded, tmp_path: Path) -> None:
    _, header, _ = carded("sft", heldout_share=0.4, licence="mit")
    assert header["license"] == "mit"
    assert header["size_categories"] == ["n<1K"]
    [only] = header["configs"]
    assert [part["split"] for part in only["data_files"]] == ["train", "heldout"]
    assert all((tmp_path / "out" / part["path"]).is_file() for part in only["data_files"])


def test_the_card_has_the_runs_own_figures(carded) -> None:
    run, header, text = carded("sft", heldout_share=0.0)
    trees = list(read_trees(run))
    kept = sum(len(tree.kept) for tree in trees)
    wrong = sum(t["drop_reason"] == "wrong" for tree in trees for t in tree.trajectories)
    segments = sum(len(tree.tree) - 1 for tree in trees)
    assert "license" not in header
    for line in (
        f"| train | {kept} | 12 |",
        f"| kept | {kept} |",
        f"| wrong | {wrong} |",
        f"| synthetic | {len(trees)} |",
        f"| v0 | {segments} |",
        "| math | 12 |",
        "| synthetic | not stated by the problem file | 12 |",
        "Licence of the rows: not stated.",
        "temperature: 1.0",
        "- type: verdict",
        "nothing was held against evaluation sets",
        "no model stands behind these texts",
    ):
        assert line in text, line


def test_the_card_says_how_labels_come_about(carded) -> None:
    _, _, text = carded("prm")
    assert "Horvitz" in text
    assert "min_visits 1" in text
    assert "| estimate |" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_datasets_loads_a_folder_by_its_card(carded, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (pip install 'berry-pipeline[dev]')")
    run, _, _ = carded("orm", heldout_share=0.4)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "heldout"}
    assert {row["problem_id"] for part in loaded.values() for row in part} == {t.problem_id for t in read_trees(run)}


def test_a_problem_that_several_rounds_searched_is_one_problem(tmp_path: Path) -> None:
    run = open_run(str(Path(__file__).parents[2] / "stored" / "run-0.1.0"))
    searched = [tree.problem_id for tree in read_trees(run)]
    assert len(set(searched)) < len(searched), "the run has two rounds"
    done = export(run, ExportRequest("tree", heldout_share=0.0), str(tmp_path / "out"))
    assert sum(done.rows.values()) == len(searched)
    assert sum(done.problems.values()) == len(set(searched))
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"| math | {len(set(searched))} |" in text
