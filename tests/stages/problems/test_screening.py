"""Problems are held against evaluation sets before a run: what overlaps is left out or told, and written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from berry.pipeline.config.sections.problems import FileProblems, Screening, SyntheticProblems
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.screening import explain_screening, screened_out
from berry.pipeline.stages.problems.sources import iter_problems, survey

SOURCE = SyntheticProblems(count=12, seed=4)


def evaluation(tmp_path: Path, *texts: str, name: str = "held.jsonl") -> str:
    path = tmp_path / name
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in texts))
    return str(path)


@pytest.fixture
def third(tmp_path: Path) -> str:
    """An evaluation set that holds the third problem within other words."""
    problem = list(iter_problems([SOURCE]))[2]
    return evaluation(tmp_path, "What is the capital of France?", f"Read this with care.\n\n{problem.text}\n\nGo on.")


def test_what_overlaps_is_left_out_of_count_digest_and_leases(third: str) -> None:
    screening = Screening(files=(third,), overlap=0.9)
    whole, found = survey([SOURCE]), survey([SOURCE], screening)
    problems = list(iter_problems([SOURCE]))
    assert (whole.count, found.count) == (12, 11)
    assert found.digest != whole.digest
    assert found.screening["files"] == {"held.jsonl": 2}
    assert found.screening["looked_at"] == 12
    assert found.screening["overlapping"] == {problems[2].id: {"item": "held.jsonl, line 2", "overlap": 1.0}}
    leases = list(iter_leases([SOURCE], size=5, skip=(), left_out=screened_out(found.screening)))
    assert [p.id for lease in leases for p in lease.problems] == [p.id for p in problems if p is not problems[2]]
    assert [len(lease.problems) for lease in leases] == [5, 5, 1]


def test_what_overlaps_is_only_told_where_so_wanted(third: str) -> None:
    found = survey([SOURCE], Screening(files=(third,), overlap=0.9, overlapping="tell"))
    assert (found.count, found.digest) == (12, survey([SOURCE]).digest)
    assert len(found.screening["overlapping"]) == 1
    assert screened_out(found.screening) == frozenset()
    assert "1 overlap and were left in" in explain_screening(found.screening)


def test_a_whole_short_text_is_found_and_a_like_one_is_not(tmp_path: Path) -> None:
    rows = [{"id": str(n), "prompt": text, "verifier": {"type": "math", "answer": "4"}}
            for n, text in enumerate(("What is 2 + 2?", "What is 2 + 3?", "what is  2+2 ?"))]  # fmt: skip
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = survey([FileProblems(path=str(path))], Screening(files=(evaluation(tmp_path, "What is 2 + 2?"),)))
    assert set(found.screening["overlapping"]) == {"0", "2"}
    assert found.count == 1


def test_one_line_says_what_was_screened_and_that_nothing_was(third: str) -> None:
    assert "nothing was held against evaluation sets (screening.files" in explain_screening(None)
    assert "nothing was held against evaluation sets" in explain_screening(survey([SOURCE]).screening)
    told = explain_screening(survey([SOURCE], Screening(files=(third,), overlap=0.9)).screening)
    assert told == "12 problems against evaluation items (2 of held.jsonl): 1 overlap and were left out"


def test_bad_evaluation_sets_are_refused_with_their_key(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(ProblemFileError, match=r"holds no row; screening\.files"):
        survey([SOURCE], Screening(files=(str(empty),)))
    with pytest.raises(ProblemFileError, match=r"has no text in stem; set screening\.fields"):
        survey([SOURCE], Screening(files=(evaluation(tmp_path, "x"),), fields=("stem",)))
    everything = evaluation(tmp_path, *(p.text for p in iter_problems([SOURCE])), name="all.jsonl")
    with pytest.raises(ProblemFileError, match=r"all 12 overlap.*screening\.overlapping to tell"):
        survey([SOURCE], Screening(files=(everything,)))
