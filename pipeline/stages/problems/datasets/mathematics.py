"""Imports mathematics with a final answer, each from its published columns."""

from __future__ import annotations

import re
from typing import Any

from berry.pipeline.stages.problems.datasets.base import Imported, SourceRow, Unusable, first, made

NO_ANSWER = {"proof": "a proof, without a final answer", "notfound": "no final answer was found in its solution"}
"""What NuminaMath and the sets made from it write in place of an answer."""


def gsm8k(row: SourceRow, number: str) -> Imported:
    """openai/grade-school-math: `question`, `answer` ending in `#### N`."""
    solution, mark, answer = row["answer"].rpartition("####")
    if not mark or not answer.strip():
        raise Unusable("the answer has no `#### N`")
    spec = {"type": "math", "answer": answer.strip().replace(",", "")}
    clean = re.sub(r"<<[^<>]*>>", "", solution) + f"#### {answer.strip()}"
    return made(f"gsm8k-{number}", row["question"], spec, "gsm8k", reference=clean)


def math(row: SourceRow, number: str) -> Imported:
    """hendrycks/math and MATH-500: `problem`, and `answer` or a `solution` that boxes it."""
    meta = {key: row[key] for key in ("level", "type", "subject") if isinstance(row.get(key), str)}
    identity = str(row.get("unique_id") or row.get("id") or number)
    spec = {"type": "math", "answer": _answer(row)}
    return made(f"math-{identity}", row["problem"], spec, "math", meta=meta, reference=row.get("solution"))


def aime(row: SourceRow, number: str) -> Imported:
    """AIME of any year as published: `problem` (or `question`), an integer `answer`, perhaps a `solution`."""
    answer = str(first(row, "answer", "Answer", "expected_answer")).strip()
    if not re.fullmatch(r"\d{1,3}", answer):
        raise Unusable(f"an AIME answer is an integer from 0 to 999, got {answer[:40]!r}")
    identity = str(row.get("id") or row.get("ID") or row.get("problem_idx") or number)
    meta = {"year": row.get("year") or row.get("Year")}
    spec = {"type": "math", "answer": str(int(answer))}
    reference = row.get("solution") or row.get("Solution")
    if isinstance(reference, str) and not _boxes(reference):
        reference = None  # a bare number or a sketch, not a response
    text = first(row, "problem", "Problem", "question")
    return made(f"aime-{identity}", text, spec, "aime", meta=meta, reference=reference)


def numina_math(row: SourceRow, number: str) -> Imported:
    """NuminaMath 1.0 (`problem`, `solution` that boxes) and 1.5 (`answer`, validity marks, types)."""
    _valid(row, "problem_is_valid", "solution_is_valid")
    meta = {key: row.get(key) for key in ("source", "problem_type", "question_type")}
    if row.get("question_type") == "proof":
        raise Unusable(NO_ANSWER["proof"])
    spec = {"type": "math", "answer": _answer(row)}
    return made(f"numina-{number}", row["problem"], spec, "numina_math", meta=meta, reference=row.get("solution"))


def openr1_math(row: SourceRow, number: str) -> Imported:
    """open-r1/OpenR1-Math-220k: `problem`, `answer`, `solution`, `uuid`, types of the problem."""
    _valid(row, "problem_is_valid", "solution_is_valid")
    meta = {key: row.get(key) for key in ("source", "problem_type", "question_type")}
    if row.get("question_type") == "proof":
        raise Unusable(NO_ANSWER["proof"])
    identity = f"openr1-{row.get('uuid') or number}"
    spec = {"type": "math", "answer": _answer(row)}
    return made(identity, row["problem"], spec, "openr1_math", meta=meta, reference=row.get("solution"))


def deepscaler(row: SourceRow, number: str) -> Imported:
    """agentica-org/DeepScaleR-Preview-Dataset: `problem`, `answer`, `solution` (often empty)."""
    spec = {"type": "math", "answer": _answer(row)}
    return made(f"deepscaler-{number}", row["problem"], spec, "deepscaler", reference=row.get("solution"))


def big_math(row: SourceRow, number: str) -> Imported:
    """SynthLabsAI/Big-Math-RL-Verified: `problem` (or `prompt`), `answer`, `source`, `domain`, `llama8b_solve_rate`."""
    meta = {key: row.get(key) for key in ("source", "domain", "llama8b_solve_rate")}
    spec = {"type": "math", "answer": _answer(row)}
    return made(f"big_math-{number}", first(row, "problem", "prompt"), spec, "big_math", meta=meta)


def open_math_reasoning(row: SourceRow, number: str) -> Imported:
    """nvidia/OpenMathReasoning: `problem`, `expected_answer`, `problem_type`; one row a generated solution."""
    kind = row.get("problem_type", "has_answer_extracted")
    if kind != "has_answer_extracted":
        raise Unusable(f"problem_type is {kind}: its answer is a model's vote, not the source's")
    meta = {key: row.get(key) for key in ("problem_source", "pass_rate_72b_tir", "generation_model")}
    spec = {"type": "math", "answer": _answer(row)}
    reference = row.get("generated_solution")
    return made(f"omr-{number}", row["problem"], spec, "open_math_reasoning", meta=meta, reference=reference)


def _answer(row: SourceRow) -> str:
    """The final answer as text. Raises Unusable where the row has none."""
    from berry.verifiers.extraction.extract import find_answer

    answer: Any = row.get("answer")
    answer = row.get("expected_answer") if answer in (None, "") else answer
    if answer in (None, ""):
        extraction = find_answer(row.get("solution") or "", ("boxed",))
        if extraction is None:
            raise Unusable("no answer, and no \\boxed{} in the solution")
        answer = extraction.answer
    text = str(answer).strip()
    if reason := NO_ANSWER.get(text.casefold()):
        raise Unusable(reason)
    if not text:
        raise Unusable("the answer is empty")
    return text


def _valid(row: SourceRow, *columns: str) -> None:
    for column in columns:
        if row.get(column) not in (None, "", "Yes", "yes", True):
            raise Unusable(f"{column} is {row[column]!r}")


def _boxes(solution: str) -> bool:
    return "\\boxed" in solution or "\\fbox" in solution
