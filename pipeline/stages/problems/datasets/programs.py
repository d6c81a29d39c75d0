"""Imports programming problems: functions with tests, and programs with standard input and output."""

from __future__ import annotations

import ast
import base64
import builtins
import io
import json
import pickle
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from berry.pipeline.stages.problems.datasets.base import Imported, SourceRow, Unusable, first, made, opened

PYTHON_3 = 3
"""The number of Python 3 among CodeContests' languages."""
PROGRAM = "Write a Python program that reads standard input and prints the answer, in one code block."
FUNCTION = "Answer with the whole Python function in one code block."


# ---- functions ------------------------------------------------------------------------------------------------------


def humaneval(row: SourceRow, number: str) -> Imported:  # noqa: ARG001 - tasks have their own ids
    """HumanEval and HumanEval+: `prompt`, `test` with check(candidate), `entry_point`, `canonical_solution`."""
    prompt, entry = row["prompt"], row["entry_point"]
    spec = {"type": "python_function", "entry_point": entry, "tests": row["test"], "prelude": before(prompt, entry)}
    text = f"Complete this Python function. Answer with the whole function in one code block.\n\n```python\n{prompt}```"
    reference = f"```python\n{prompt}{row['canonical_solution']}\n```"
    return made(row["task_id"], text, spec, "humaneval", reference=reference)


def before(prompt: str, entry_point: str) -> str:
    """The imports and helpers of a HumanEval prompt, which the answer may lean on."""
    match = re.search(rf"^def {re.escape(entry_point)}\b", prompt, re.MULTILINE)
    return prompt[: match.start()] if match else ""


def mbpp(row: SourceRow, number: str) -> Imported:
    """MBPP and MBPP+: `text`, `prompt` or `content`, `test_list` of asserts (`test`: the plus tests), `code`."""
    text = first(row, "text", "prompt", "content")
    shown = [*row["test_list"]]
    solution = row.get("code") or row.get("canonical_solution")
    entry = called(shown, solution or "")
    labels = row.get("labels") if isinstance(row.get("labels"), dict) else {}
    setup = (
        row.get("test_setup_code") or (labels or {}).get("test_setup_code") or "\n".join(row.get("test_imports", ()))
    )
    prompt = f"{text}\n\nYour Python function must pass these tests:\n\n" + "\n".join(shown)
    tests = row["test"] if isinstance(row.get("test"), str) else "\n".join(shown)
    setup, own = _missing(setup, tests, entry)
    spec: dict[str, Any] = {"type": "python_function", "entry_point": entry, "tests": tests, "prelude": setup}
    if own:
        spec = {"type": "program_tests", "language": "python", "tests": f"{setup}\n{tests}"}
    reference = f"```python\n{solution}\n```" if solution else None
    return made(f"mbpp-{row.get('task_id', row.get('id', number))}", prompt, spec, "mbpp", reference=reference)


def _missing(setup: str, tests: str, entry: str) -> tuple[str, bool]:
    """(set-up with the modules of the standard library imported that it and the tests name and nobody imports, whether
    they name something else that nobody defines, and so need the program itself)."""
    try:
        nodes = list(ast.walk(ast.parse(f"{setup}\n{tests}")))
    except SyntaxError:
        return setup, False
    known = {entry, "candidate", *dir(builtins)}
    known |= {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    known |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    known |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and n.name}
    known |= {(n.asname or n.name).partition(".")[0] for n in nodes if isinstance(n, ast.alias)}
    missing = {n.id for n in nodes if isinstance(n, ast.Name)} - known
    modules = sorted(missing & sys.stdlib_module_names)
    setup = "\n".join([*(f"import {name}" for name in modules), setup]).strip("\n")
    return setup, "*" not in known and missing != set(modules)


def called(tests: list[str], solution: str = "") -> str:
    """The function that the asserts call: the one in most of them that is not a builtin, or that the solution defines.
    Raises Unusable."""
    counts: dict[str, int] = {}
    defined = set(re.findall(r"^def[ \t]+(\w+)", solution, re.MULTILINE))
    for test in tests:
        try:
            tree = ast.parse(test.strip())
        except SyntaxError as error:
            raise Unusable(f"a test is not Python: {error}") from error
        names = [n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        for name in dict.fromkeys(names):
            if name in defined or not hasattr(builtins, name):
                counts[name] = counts.get(name, 0) + 1
    if not counts:
        raise Unusable("no test calls a function")
    return max(counts, key=lambda name: counts[name])


def kodcode(row: SourceRow, number: str) -> Imported:
    """KodCode-V1: `question`, `solution`, `test` (functions of asserts over `solution`), `test_info` with the name."""
    info = opened(row.get("test_info") or [], "test_info")
    if len(info) != 1 or not info[0].get("function_name"):
        raise Unusable(f"its tests are about {len(info)} functions")
    entry = str(info[0]["function_name"])
    tests = re.sub(r"^from solution import .*$", "", row["test"], flags=re.MULTILINE)
    if "pytest" in tests or "solution" in tests.replace("_solution", "").replace("solution_", ""):
        raise Unusable("its tests need pytest or the solution's own module")
    try:
        functions = [n.name for n in ast.parse(tests).body if isinstance(n, ast.FunctionDef)]
    except SyntaxError as error:
        raise Unusable(f"its tests are not Python: {error}") from error
    calls = [f"{name}()" for name in functions if name.startswith("test")]
    if not calls:
        raise Unusable("its tests have no test function")
    spec = {"type": "python_function", "entry_point": entry, "tests": "\n".join([tests, *calls])}
    declaration = info[0].get("function_declaration") or f"def {entry}(…)"
    prompt = f"{row['question']}\n\nThe function is `{declaration}`. {FUNCTION}"
    meta = {"style": row.get("style"), "subset": row.get("subset"), "difficulty": row.get("gpt_difficulty")}
    reference = f"```python\n{row['solution']}\n```"
    identity = f"kodcode-{row.get('question_id') or number}"
    return made(identity, prompt, spec, "kodcode", meta=meta, reference=reference)


MULTIPL_E = {
    "cpp": "cpp",
    "cs": "csharp",
    "go": "go",
    "go_test.go": "go",
    "java": "java",
    "js": "javascript",
    "php": "php",
    "py": "python",
    "r": "r",
    "rb": "ruby",
    "rs": "rust",
    "sh": "shell",
    "ts": "typescript",
}
"""MultiPL-E's names of the languages that there is a sandbox for."""
_HEAD = {
    "cpp": re.compile(r"^#include.*$", re.MULTILINE),
    "java": re.compile(r"^import (?!org\.javatuples).*$", re.MULTILINE),
    "go": re.compile(r"^import\s*(?:\([^()]*\)|\"[^\"]+\")", re.MULTILINE),
    "rust": re.compile(r"^use .*;$", re.MULTILINE),
    "csharp": re.compile(r"^using [\w.]+;$", re.MULTILINE),
}
"""What of a prompt's code its answers may leave out: includes, imports."""
_TUPLES = re.compile(r"\b(?:Unit|Pair|Triplet|Quartet|Quintet|Sextet)\s*(?:<|\.with\b)")


def multipl_e(row: SourceRow, number: str) -> Imported:  # noqa: ARG001 - tasks have their own names
    """MultiPL-E: `prompt` (with the signature), `tests`, `language`; problems in Java that need the library javatuples
    are left out."""
    language = MULTIPL_E.get(row["language"])
    if language is None:
        raise Unusable(f"language {row['language']!r} has no sandbox")
    if language == "java" and _TUPLES.search(row["prompt"] + row["tests"]):
        raise Unusable("it needs the library javatuples")
    tests = row["tests"].lstrip()
    tests = tests[1:] if tests.startswith("}") else tests  # it closes the prompt's open function
    if language in ("java", "csharp"):
        tests = re.sub(r"\}\s*\Z", "", tests)  # and the class around it
    prompt = row["prompt"].replace("import org.javatuples.*;\n", "")
    head = _HEAD.get(language)
    prelude = "\n".join(match[0] for match in head.finditer(prompt)) if head is not None else ""
    spec = {"type": "program_tests", "language": language, "tests": tests, "prelude": prelude}
    fence = "sh" if language == "shell" else language
    text = f"Complete this function. Answer with the whole function in one code block.\n\n```{fence}\n{prompt}```"
    return made(f"{row['language']}-{row['name']}", text, spec, "multipl_e", reference=row.get("gpt_solution"))


# ---- programs -------------------------------------------------------------------------------------------------------


def code_contests(row: SourceRow, number: str) -> Imported:
    """DeepMind's CodeContests: `description` (or `content`), public, private and generated tests, limits, solutions.
    Problems that read or write files are left out."""
    for column in ("input_file", "output_file"):
        if row.get(column):
            raise Unusable(f"it uses a file: {column} is {row[column]!r}")
    pairs: list[tuple[str, str]] = []
    for column in ("test", "public_tests", "private_tests", "generated_tests"):
        pairs += _pairs(opened(row.get(column) or [], column))
    if not pairs:
        raise Unusable("no tests")
    spec = _stdio(list(dict.fromkeys(pairs))) | _limits(row.get("time_limit"), row.get("memory_limit_bytes"))
    solutions = row.get("solutions") or {}
    codes = zip(solutions.get("language", ()), solutions.get("solution", ()), strict=False)
    python = next((code for language, code in codes if language in (PYTHON_3, "PYTHON3")), None)
    text = f"{first(row, 'content', 'description')}\n\n{PROGRAM}"
    identity = f"code_contests-{row.get('id', row.get('name', number))}"
    return made(identity, text, spec, "code_contests", reference=_fenced(python))


def apps(row: SourceRow, number: str) -> Imported:
    """APPS: `question`, `input_output` (inputs, outputs, perhaps fn_name), `starter_code`, `solutions`."""
    return _competition(row, f"apps-{row.get('problem_id', row.get('id', number))}", "apps")


def taco(row: SourceRow, number: str) -> Imported:
    """TACO: as APPS, with `time_limit` and `memory_limit` in words."""
    if row.get("picture_num") not in (None, "", "0", 0):
        raise Unusable("its statement has pictures")
    return _competition(row, f"taco-{row.get('id', number)}", "taco")


def _competition(row: SourceRow, identity: str, source: str) -> Imported:
    tests = opened(row.get("input_output") or "", "input_output") if row.get("input_output") else None
    if not tests:
        raise Unusable("no tests")
    spec = cases_of(tests) | _limits(row.get("time_limit"), row.get("memory_limit"))
    solutions = opened(row.get("solutions") or [], "solutions")
    starter = row.get("starter_code") or ""
    ask = PROGRAM if spec["type"] == "stdio" else FUNCTION
    text = "\n\n".join(filter(None, [row["question"], starter and f"```python\n{starter}\n```", ask]))
    meta = {"difficulty": row.get("difficulty"), "url": row.get("url")}
    reference = _fenced(solutions[0]) if solutions else None
    return made(identity, text, spec, source, meta=meta, reference=reference)


def livecodebench(row: SourceRow, number: str) -> Imported:
    """LiveCodeBench, code generation: `question_content`, `starter_code`, public tests as JSON, private ones packed."""
    tests = [*_lcb_tests(row.get("public_test_cases")), *_lcb_tests(row.get("private_test_cases"))]
    if not tests:
        raise Unusable("no tests")
    metadata = opened(row.get("metadata") or {}, "metadata")
    if any(test.get("testtype") == "functional" for test in tests):
        name = metadata.get("func_name")
        if not name:
            raise Unusable("tests of a function, and metadata names none")
        spec: dict[str, Any] = {"type": "python_function", "entry_point": str(name).rpartition(".")[2]}
        spec["cases"] = [
            {"args": [_json(line) for line in test["input"].splitlines()], "expected": _json(test["output"])}
            for test in tests
        ]
    else:
        spec = _stdio([(test["input"], test["output"]) for test in tests])
    starter = row.get("starter_code") or ""
    ask = PROGRAM if spec["type"] == "stdio" else FUNCTION
    text = "\n\n".join(filter(None, [row["question_content"], starter and f"```python\n{starter}\n```", ask]))
    meta = {key: row.get(key) for key in ("platform", "difficulty", "contest_date")}
    meta = {key: str(value) for key, value in meta.items() if value is not None}
    return made(f"livecodebench-{row.get('question_id', number)}", text, spec, "livecodebench", meta=meta)


def cases_of(tests: Any) -> dict[str, Any]:
    """A verifier from tests as data sets write them: {inputs, outputs, fn_name}, or a list of single tests. Raises
    Unusable."""
    if isinstance(tests, Mapping) and "inputs" in tests:
        inputs, outputs = tests["inputs"], tests["outputs"]
        if len(inputs) != len(outputs):
            raise Unusable(f"{len(inputs)} inputs and {len(outputs)} outputs")
        if name := tests.get("fn_name"):
            return _function(str(name), inputs, outputs)
        return _stdio([(_lines(i), _lines(o)) for i, o in zip(inputs, outputs, strict=True)])
    if isinstance(tests, Sequence) and tests and all(isinstance(t, Mapping) for t in tests):
        names = {t.get("fn_name") for t in tests if t.get("type") in ("function_call", "functional")}
        if len(names) > 1:
            raise Unusable(f"tests of {len(names)} functions")
        if names and (name := names.pop()):
            return _function(str(name), [t["input"] for t in tests], [t["output"] for t in tests])
        return _stdio(_pairs(tests))
    raise Unusable("no tests")


def _function(name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
    """APPS and its kin wrap what is expected in a list of one."""
    if not inputs:
        raise Unusable("no tests")
    args = [_json(i) if isinstance(i, str) else i for i in inputs]
    expected = [_json(o) if isinstance(o, str) else o for o in outputs]
    if all(isinstance(o, list) and len(o) == 1 for o in expected):
        expected = [o[0] for o in expected]
    cases = [{"args": a if isinstance(a, list) else [a], "expected": e} for a, e in zip(args, expected, strict=True)]
    return {"type": "python_function", "entry_point": name.rpartition(".")[2], "cases": cases}


def _pairs(tests: Any) -> list[tuple[str, str]]:
    if isinstance(tests, Mapping):
        return list(zip(map(_lines, tests["input"]), map(_lines, tests["output"]), strict=True))
    pairs = []
    for test in tests:
        given, wanted = test["input"], test["output"]
        given = given.get("stdin", "") if isinstance(given, Mapping) else _lines(given)
        pairs.append((given, wanted["stdout"] if isinstance(wanted, Mapping) else _lines(wanted)))
    return pairs


def _stdio(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    if not pairs:
        raise Unusable("no tests")
    return {"type": "stdio", "language": "python", "cases": [{"stdin": i, "stdout": o} for i, o in pairs]}


def _lines(text: Any) -> str:
    """A test's text; some sets give its lines as a list."""
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _limits(time: Any, memory: Any) -> dict[str, Any]:
    """CPU seconds and MiB: {seconds, nanos} and bytes, or words such as "2.0 seconds" and "256.0 megabytes". What
    can't be read is left to the checker's own limits."""
    limits: dict[str, Any] = {}
    if isinstance(time, Mapping):
        limits["cpu_s"] = float(time.get("seconds") or 0) + float(time.get("nanos") or 0) / 1e9
    elif isinstance(time, str) and (match := re.match(r"([\d.]+)\s*(milli)?s", time)):
        limits["cpu_s"] = float(match[1]) / (1000 if match[2] else 1)
    if isinstance(memory, int | float) and memory > 0:
        limits["memory_mb"] = int(memory) >> 20
    elif isinstance(memory, str) and (match := re.match(r"([\d.]+)\s*(mega|giga|kilo)?", memory)):
        limits["memory_mb"] = int(float(match[1]) * {"giga": 1024, "kilo": 1 / 1024}.get(match[2] or "", 1))
    slow = max(10.0, 5 * limits["cpu_s"]) if limits.get("cpu_s") else None  # limits are for C++; Python gets five times
    roomy = max(256, limits["memory_mb"]) if limits.get("memory_mb") else None
    return {key: value for key, value in (("cpu_s", slow), ("memory_mb", roomy)) if value is not None}


def _fenced(code: Any) -> str | None:
    return f"```python\n{code}\n```" if isinstance(code, str) and code.strip() else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unusable(f"a test's value is not JSON: {text[:60]!r}") from error


class _TextOnly(pickle.Unpickler):
    """Reads a pickled text and nothing that names a class."""

    def find_class(self, module: str, name: str) -> Any:
        raise Unusable(f"its private tests hold {module}.{name}, where a text belongs")


def _lcb_tests(packed: Any) -> list[Mapping[str, Any]]:
    """Public tests are JSON; private ones are JSON, or base64 of zlib of a pickled JSON text."""
    if not packed:
        return []
    if not isinstance(packed, str):
        return list(packed)
    try:
        return json.loads(packed)
    except ValueError:
        pass
    try:
        text = _TextOnly(io.BytesIO(zlib.decompress(base64.b64decode(packed)))).load()
        return json.loads(text)
    except (ValueError, TypeError, zlib.error, pickle.UnpicklingError, EOFError) as error:
        raise Unusable(f"its private tests can't be read: {error}") from error
