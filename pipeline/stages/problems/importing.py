"""Problems out of public data sets' own files: each importer turns one row into one problem.

    rows of a file ─► importer (by data set) ─► (problem, reference solution) ─► PROBLEMS.jsonl (and REFERENCES.jsonl)

A row that can't become a checkable problem is left out and counted with its reason, never guessed at.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from berry.pipeline.errors import ProblemFileError
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.files import json_rows, parquet_rows
from berry.verifiers.registry import fault as spec_fault

Row = Mapping[str, Any]


class Unusable(ValueError):
    """This row can't be a problem; the text says why."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A problem, and the data set's own solution as a response, where there is one."""

    problem: Problem
    reference: str | None = None


Importer = Callable[[Row, str], Imported]


def read_rows(path: str) -> Iterator[tuple[str, Row]]:
    """(where, row) of a .jsonl, .jsonl.gz, .json (a list) or .parquet file. Raises ProblemFileError."""
    if path.endswith(".parquet"):
        rows: Iterator[tuple[str, object]] = parquet_rows(path)
    elif path.endswith(".gz"):
        rows = _gzipped(path)
    elif path.endswith(".json"):
        rows = _json_list(path)
    else:
        rows = json_rows(path)
    for where, row in rows:
        if not isinstance(row, dict):
            raise ProblemFileError(f"{where}: must be an object, got {type(row).__name__}")
        yield where, row


def _gzipped(path: str) -> Iterator[tuple[str, object]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{path}, line {number}", json.loads(line)
    except (OSError, ValueError) as error:
        raise ProblemFileError(f"{path}: can't be read: {error}") from error


def _json_list(path: str) -> Iterator[tuple[str, object]]:
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProblemFileError(f"{path}: can't be read: {error}") from error
    yield from ((f"{path}, item {n}", item) for n, item in enumerate(data if isinstance(data, list) else [data]))


def convert(path: str, importer: Importer) -> Iterator[tuple[str, Imported | str]]:
    """(where, problem) for each row, or (where, why it was left out)."""
    for number, (where, row) in enumerate(read_rows(path)):
        try:
            imported = importer(row, str(number))
            fault = spec_fault(imported.problem.verifier)
        except Unusable as error:
            yield where, str(error)
            continue
        except KeyError as error:
            raise ProblemFileError(
                f"{where}: lacks the field {error}; is this the file of another data set?"
            ) from error
        except ValidationError as error:
            yield where, "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in error.errors())[:300]
            continue
        yield where, imported if fault is None else fault


# ---- data sets ------------------------------------------------------------------------------------------------------


def gsm8k(row: Row, number: str) -> Imported:
    """openai/grade-school-math: `question`, `answer` ending in `#### N`."""
    solution, mark, answer = row["answer"].rpartition("####")
    if not mark or not answer.strip():
        raise Unusable("the answer has no `#### N`")
    spec = {"type": "math", "answer": answer.strip().replace(",", "")}
    clean = re.sub(r"<<[^<>]*>>", "", solution) + f"#### {answer.strip()}"
    return _made(f"gsm8k-{number}", row["question"], spec, "gsm8k", reference=clean)


def math(row: Row, number: str) -> Imported:
    """hendrycks/math and its kin: `problem`, and `answer` or a `solution` that boxes it."""
    from berry.verifiers.extract import find_answer

    solution = row.get("solution")
    answer = row.get("answer") or row.get("expected_answer")
    if answer is None:
        found = find_answer(solution or "", ("boxed",))
        if found is None:
            raise Unusable("no answer, and no \\boxed{} in the solution")
        answer = found.answer
    meta = {key: row[key] for key in ("level", "type", "subject") if isinstance(row.get(key), str)}
    identity = str(row.get("unique_id") or row.get("id") or number)
    spec = {"type": "math", "answer": str(answer)}
    return _made(f"math-{identity}", row["problem"], spec, "math", meta=meta, reference=solution)


def humaneval(row: Row, number: str) -> Imported:  # noqa: ARG001 - tasks have their own ids
    """openai/human-eval: `prompt`, `test` with check(candidate), `entry_point`, `canonical_solution`."""
    prompt, entry = row["prompt"], row["entry_point"]
    spec = {"type": "python_function", "entry_point": entry, "tests": row["test"], "prelude": before(prompt, entry)}
    text = f"Complete this Python function. Answer with the whole function in one code block.\n\n```python\n{prompt}```"
    reference = f"```python\n{prompt}{row['canonical_solution']}\n```"
    return _made(row["task_id"], text, spec, "humaneval", reference=reference)


def before(prompt: str, entry_point: str) -> str:
    """The imports and helpers of a HumanEval prompt, which the answer may lean on."""
    match = re.search(rf"^def {re.escape(entry_point)}\b", prompt, re.MULTILINE)
    return prompt[: match.start()] if match else ""


def mbpp(row: Row, number: str) -> Imported:
    """google-research/mbpp and its kin: `text`, `prompt` or `content`, `test_list` of asserts, `code`."""
    text = row.get("text") or row.get("prompt") or row["content"]
    tests = [*row["test_list"]]
    entry = called(tests)
    labels = row.get("labels") if isinstance(row.get("labels"), dict) else {}
    setup = (
        row.get("test_setup_code") or (labels or {}).get("test_setup_code") or "\n".join(row.get("test_imports", ()))
    )
    prompt = f"{text}\n\nYour Python function must pass these tests:\n\n" + "\n".join(tests)
    spec = {"type": "python_function", "entry_point": entry, "tests": "\n".join(tests), "prelude": setup}
    solution = row.get("code") or row.get("canonical_solution")
    reference = f"```python\n{solution}\n```" if solution else None
    return _made(f"mbpp-{row.get('task_id', row.get('id', number))}", prompt, spec, "mbpp", reference=reference)


def called(tests: list[str]) -> str:
    """The function that the asserts call: the one outermost in most of them that is not a builtin."""
    counts: dict[str, int] = {}
    for test in tests:
        try:
            tree = ast.parse(test.strip())
        except SyntaxError as error:
            raise Unusable(f"a test is not Python: {error}") from error
        names = [n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        for name in dict.fromkeys(names):
            if not hasattr(__import__("builtins"), name):
                counts[name] = counts.get(name, 0) + 1
    if not counts:
        raise Unusable("no test calls a function")
    return max(counts, key=lambda name: counts[name])


def code_contests(row: Row, number: str) -> Imported:
    """Programs with standard input and output: `content` (or `description`) and `test`, a list of
    {input: {stdin}, output: {stdout}}, or {input: [...], output: [...]}."""
    tests = row.get("test") or row.get("public_tests")
    tests = json.loads(tests) if isinstance(tests, str) else tests
    if isinstance(tests, dict):
        pairs = list(zip(tests["input"], tests["output"], strict=True))
    else:
        pairs = [(t["input"].get("stdin", ""), t["output"]["stdout"]) for t in tests or []]
    if not pairs:
        raise Unusable("no tests")
    spec = {"type": "stdio", "language": "python", "cases": [{"stdin": i, "stdout": o} for i, o in pairs]}
    text = row.get("content") or row["description"]
    prompt = f"{text}\n\nWrite a Python program that reads standard input and prints the answer, in one code block."
    return _made(f"code_contests-{row.get('id', row.get('name', number))}", prompt, spec, "code_contests")


def multipl_e(row: Row, number: str) -> Imported:  # noqa: ARG001 - tasks have their own names
    """MultiPL-E: `prompt` (with the signature), `tests`, `language` (cpp or js)."""
    language = {"cpp": "cpp", "js": "javascript", "py": "python", "sh": "shell"}.get(row["language"])
    if language is None:
        raise Unusable(f"language {row['language']!r} has no sandbox")
    tests, prelude = row["tests"], ""
    if language == "cpp":
        tests = tests.lstrip()
        tests = tests[1:] if tests.startswith("}") else tests  # it closes the prompt's open function
        prelude = "\n".join(line for line in row["prompt"].splitlines() if line.startswith("#include"))
    spec = {"type": "program_tests", "language": language, "tests": tests, "prelude": prelude}
    fence = {"cpp": "cpp", "javascript": "javascript", "python": "python", "shell": "sh"}[language]
    text = (
        f"Complete this function. Answer with the whole function in one code block.\n\n```{fence}\n{row['prompt']}```"
    )
    return _made(f"{row['language']}-{row['name']}", text, spec, "multipl_e", reference=row.get("gpt_solution"))


def mapped(fields: Mapping[str, str], verifier: Mapping[str, Any] | None = None) -> Importer:
    """An importer for any file: `fields` says which column is `prompt`, `answer` (a math answer), `id`, `verifier`
    (a tagged object), `reference`. `verifier` is a template whose "{column}" texts are filled from the row."""

    def one(row: Row, number: str) -> Imported:
        def field(name: str) -> Any:
            column = fields.get(name, name)
            if column not in row and name in fields:
                raise ProblemFileError(f"--map {name}={column}: no such column; there are {', '.join(map(str, row))}")
            return row.get(column)

        prompt = field("prompt")
        if prompt is None:
            raise ProblemFileError(
                f"no column `prompt`: name one with --map prompt=…; there are {', '.join(map(str, row))}"
            )
        spec = field("verifier")
        if verifier is not None:
            spec = _filled(verifier, row)
        elif spec is None:
            answer = field("answer")
            if answer is None:
                raise Unusable("no answer")
            spec = {"type": "math", "answer": str(answer)}
        elif isinstance(spec, str):
            spec = json.loads(spec)
        return _made(str(field("id") or number), prompt, spec, str(row.get("source", "")), reference=field("reference"))

    return one


def _filled(template: Any, row: Row) -> Any:
    """`template` with every text that is exactly "{column}" replaced by that column's value."""
    if isinstance(template, str) and (match := re.fullmatch(r"\{(\w+)\}", template)):
        if match[1] not in row:
            raise ProblemFileError(f"--verifier: no column {match[1]!r}; there are {', '.join(map(str, row))}")
        return row[match[1]]
    if isinstance(template, dict):
        return {key: _filled(value, row) for key, value in template.items()}
    return [_filled(item, row) for item in template] if isinstance(template, list) else template


def _made(
    identity: str,
    prompt: Any,
    spec: Mapping[str, Any],
    source: str,
    *,
    meta: Row | None = None,
    reference: str | None = None,
) -> Imported:
    problem = Problem.model_validate(
        {"id": identity, "prompt": prompt, "verifier": dict(spec), "source": source, "meta": dict(meta or {})}
    )
    return Imported(problem, reference if isinstance(reference, str) else None)


IMPORTERS: dict[str, Importer] = {
    "gsm8k": gsm8k,
    "math": math,
    "humaneval": humaneval,
    "mbpp": mbpp,
    "code_contests": code_contests,
    "multipl_e": multipl_e,
}
