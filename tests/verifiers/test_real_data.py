"""Whole public data sets, where BERRY_DATA names a folder that has them (see its README; nothing of it is in here).

BERRY_DATA_ROWS bounds the MultiPL-E rows a language (default 24): each is compiled and run twice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from berry.pipeline.stages.problems.importing import IMPORTERS, Imported, convert
from berry.verifiers.base import Outcome, Reason
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.specs.union import MathSpec, ProgramTestsSpec

pytestmark = pytest.mark.slow
ROWS = int(os.environ.get("BERRY_DATA_ROWS", "24"))


def imported(path: Path, name: str) -> list[Imported]:
    if not path.is_file():
        pytest.skip(f"BERRY_DATA has no {path.name}")
    return [item for _, item in convert(str(path), IMPORTERS[name]()) if isinstance(item, Imported)]


def pairs(items: list[Imported]) -> list:
    return [(item.problem.verifier, item.reference) for item in items if item.reference]


def test_gsm8k_reference_solutions_pass_and_none_with_the_gold_increased_by_one(check_all, data) -> None:
    rows = pairs(imported(data / "gsm8k_train.jsonl", "gsm8k"))
    assert len(rows) == 7473
    assert all(v.passed for v in check_all(rows))
    increased = [(MathSpec(answer=str(int(spec.answer) + 1)), text) for spec, text in rows]
    assert not any(v.passed for v in check_all(increased))


def test_humaneval_canonical_solutions_pass_and_none_that_returns_none(check_all, data) -> None:
    items = imported(data / "HumanEval.jsonl.gz", "humaneval")
    verdicts = check_all(pairs(items))
    assert [v.reason for v in verdicts] == [Reason.CORRECT] * 164
    emptied = []
    for item in items:
        prompt = item.problem.prompt.partition("```python\n")[2].removesuffix("```")  # type: ignore[union-attr]
        emptied.append((item.problem.verifier, f"```python\n{prompt}    return None\n```"))
    assert {v.outcome for v in check_all(emptied)} == {Outcome.FAIL}


def test_mbpp_canonical_solutions_pass(check_all, data) -> None:
    assert all(v.passed for v in check_all(pairs(imported(data / "sf_mbpp_20.jsonl", "mbpp"))))


def test_code_contests_problems_can_be_checked_and_silence_fails_them(check_all, data) -> None:
    items = imported(data / "sf_code_contests_20.jsonl", "code_contests")
    assert len(items) >= 15
    assert {v.outcome for v in check_all([(item.problem.verifier, "```python\npass\n```") for item in items])} == {
        Outcome.FAIL
    }


def plainly(spec: ProgramTestsSpec, response: str, folder: Path) -> bool:
    """Compiled and run as a file, outside any sandbox; assertions and the exit status decide."""
    code = find_program(response, spec.language) or ""
    source = f"{spec.prelude}\n{code}\n{spec.tests}"
    if spec.language == "javascript":
        (folder / "a.js").write_text(source)
        command = ["node", "a.js"]
    else:
        (folder / "a.cpp").write_text(source)
        built = subprocess.run(["g++", "-std=c++17", "-o", "a", "a.cpp"], cwd=folder, capture_output=True, timeout=120)
        if built.returncode:
            return False
        command = ["./a"]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, timeout=20).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("file", "tool"), [("sf_multiple_mbpp_js.jsonl", "node"), ("sf_multiple_mbpp_cpp.jsonl", "g++")]
)
def test_multipl_e_verdicts_are_those_of_compiling_and_running_plainly(check_all, data, tmp_path, file, tool) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    rows = pairs(imported(data / file, "multipl_e"))
    chosen = rows[:: max(1, len(rows) // ROWS)]
    verdicts = check_all(chosen)
    differ = [
        (spec, verdict.reason, dict(verdict.evidence))
        for (spec, response), verdict in zip(chosen, verdicts, strict=True)
        if verdict.passed != plainly(spec, response, tmp_path)
    ]
    assert not differ


def test_real_answers_pass_however_they_are_wrapped(check_all, data) -> None:
    rows = pairs(imported(data / "gsm8k_train.jsonl", "gsm8k"))[:300]
    for form in (
        "\\boxed{{{}}}",
        "The answer is {}.",
        "**{}**",
        "$\\boxed{{{}.0}}$",
        "x = {}",
        "\\[\\boxed{{\\text{{{}}}}}\\]",
    ):
        wrong = [r for r in check_all([(s, form.format(s.answer)) for s, _ in rows]) if not r.passed]
        assert not wrong, form


def test_imported_problems_keep_their_ids_apart(data) -> None:
    ids = [item.problem.id for item in imported(data / "sf_multiple_mbpp_cpp.jsonl", "multipl_e")]
    assert len(set(ids)) == len(ids)
