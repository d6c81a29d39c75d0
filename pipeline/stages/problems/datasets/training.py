"""Imports sets published for reinforcement learning: verl's layout, PRIME's, SYNTHETIC, Nemotron."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from berry.pipeline.stages.problems.datasets.base import Imported, SourceRow, Unusable, at, made, opened
from berry.pipeline.stages.problems.datasets.mathematics import NO_ANSWER
from berry.pipeline.stages.problems.datasets.programs import cases_of

CODE = ("code", "coding", "taco", "apps", "codecontests", "codeforces", "livecodebench")


def verl(row: SourceRow, number: str) -> Imported:
    """Any file in verl's layout: `data_source`, `prompt` (messages), `ability`, `reward_model.ground_truth`,
    `extra_info`. Answers become `math`, tests with inputs and outputs become programs."""
    source = str(row["data_source"])
    truth = at(row, "reward_model.ground_truth")
    if truth in (None, ""):
        raise Unusable("no reward_model.ground_truth")
    identity = str(at(row, "extra_info.index") if at(row, "extra_info.index") not in (None, "") else number)
    meta = {"ability": row.get("ability"), "split": at(row, "extra_info.split")}
    is_code = row.get("ability") in CODE or source.casefold() in CODE
    spec: Mapping[str, Any]
    tests = _tests(truth) if is_code or _looks_like_tests(truth) else None
    if tests is not None:
        spec = cases_of(tests)
    elif is_code:
        raise Unusable("its ground truth is no list of inputs and outputs")
    else:
        spec = {"type": "math", "answer": _text(truth)}
    return made(f"{source}-{identity}", _prompt(row["prompt"]), spec, source, meta=meta)


def dapo(row: SourceRow, number: str) -> Imported:
    """BytedTsinghua-SIA/DAPO-Math-17k: verl's layout, each problem repeated about a hundred times."""
    imported = verl(row, number)
    problem = imported.problem.model_copy(update={"id": f"dapo-{at(row, 'extra_info.index') or number}"})
    return Imported(problem.model_copy(update={"source": "dapo"}))


def dapo_key(row: SourceRow) -> object:
    """What tells one problem of DAPO-Math-17k from another."""
    return at(row, "extra_info.index") or json.dumps(row.get("prompt"), sort_keys=True, default=str)


def synthetic(row: SourceRow, number: str) -> Imported:
    """PrimeIntellect's SYNTHETIC-1 and SYNTHETIC-2: `problem_id`, `task_type`, `prompt`, `verification_info`. A row of
    SYNTHETIC-1 is a response; the sets of its tasks alone have the same columns."""
    kind = str(row["task_type"])
    info = _read(row["verification_info"], "verification_info")
    if not isinstance(info, Mapping):
        raise Unusable("verification_info is no object")
    meta = {"task_type": kind, "source": row.get("source")}
    if kind == "verifiable_math":
        truth = info.get("ground_truth")
        if truth in (None, ""):
            raise Unusable("no ground_truth")
        spec: Mapping[str, Any] = {"type": "math", "answer": _text(truth)}
    elif kind == "verifiable_code":
        if info.get("language", "python") != "python":
            raise Unusable(f"language {info['language']!r}")
        tests = opened(info.get("test_cases"), "test_cases")
        spec = cases_of(tests)
    elif kind == "reasoning_gym":
        entry = opened(info.get("entry") or info, "entry")
        spec = {"type": "reasoning_gym", "dataset": info.get("dataset") or row.get("source") or "", "entry": entry}
    else:
        raise Unusable(f"task_type {kind!r} has no verifier here")
    identity = f"synthetic-{row.get('problem_id') or number}"
    reference = row.get("gold_standard_solution")
    if kind == "verifiable_code" and reference and "```" not in reference:
        reference = f"```python\n{reference}\n```"
    return made(identity, _prompt(row["prompt"]), spec, "synthetic", meta=meta, reference=reference)


def synthetic_key(row: SourceRow) -> object:
    """What tells one problem of SYNTHETIC from another: the full sets have a row for each response."""
    return row.get("problem_id")


def nemotron(row: SourceRow, number: str) -> Imported:
    """nvidia's Nemotron post-training sets: `messages` (or `input`), `category`, `metadata.expected_answer`. Rows whose
    only answer is a model's own are left out."""
    expected = at(row, "metadata.expected_answer") or row.get("expected_answer")
    if expected in (None, ""):
        raise Unusable("no expected_answer: what its output says is a model's own answer")
    turns = _asked(row)
    if not turns:
        raise Unusable("no question among its messages")
    meta = {"category": row.get("category"), "reasoning": row.get("reasoning"), "license": row.get("license")}
    spec = {"type": "math", "answer": _text(expected)}
    return made(f"nemotron-{row.get('uuid') or number}", _prompt(turns), spec, "nemotron", meta=meta)


def nemotron_key(row: SourceRow) -> object:
    """What tells one question of Nemotron from another: its sets have a row for each response."""
    return json.dumps([turn.get("content") for turn in _asked(row)])


def _asked(row: SourceRow) -> list[Any]:
    """The turns before the answer."""
    messages = row.get("messages") or row.get("input") or []
    return [turn for turn in messages if turn.get("role") != "assistant" and turn.get("content")]


def _read(value: Any, what: str) -> Any:
    """A column that holds JSON, or a Python literal, as text. Raises Unusable."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise Unusable(f"{what} is neither JSON nor a Python literal ({error})") from error


def _prompt(prompt: Any) -> Any:
    """A text, or chat messages with role and content alone. A single user turn is a text."""
    if isinstance(prompt, str):
        return prompt
    messages = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in prompt]
    return messages[0]["content"] if [m["role"] for m in messages] == ["user"] else messages


def _text(truth: Any) -> str:
    """An answer as text; a list of one is its item, and one that says that there is none is refused."""
    if isinstance(truth, list | tuple) and len(truth) == 1:
        truth = truth[0]
    if isinstance(truth, list | tuple | Mapping):
        raise Unusable("its ground truth is no single answer")
    text = str(truth).strip()
    if reason := NO_ANSWER.get(text.casefold()):
        raise Unusable(reason)
    return text


def _looks_like_tests(truth: Any) -> bool:
    return isinstance(truth, Mapping) or (isinstance(truth, str) and truth.lstrip()[:1] == "{" and '"inputs"' in truth)


def _tests(truth: Any) -> Any:
    tests = opened(truth, "ground_truth") if isinstance(truth, str) and truth.lstrip()[:1] in "{[" else truth
    return tests if isinstance(tests, Mapping | list) else None
