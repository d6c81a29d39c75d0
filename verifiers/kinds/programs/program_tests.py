"""Runs the response's program with tests appended to it, as MultiPL-E has them (`program_tests`).

    Python      tests of one function ─► the split judge (`python_function`): two processes
                other tests ─► prelude, program ─► built-in names as they were ─► tests ─► a word is asked back
    otherwise   what the tests use is fixed ─► prelude, program ─► undone where it can be ─► tests ─► a word is printed

Outside the split judge the tests share the candidate's process, so a hostile candidate can forge a pass whatever is
done: every such verdict says `weak`, and a checker makes it UNVERIFIABLE unless its `weak_verdicts` is "count". A pass
still takes some doing. It is a word drawn for this check, on a line of its own and the only one that looks like it.
In Python neither the tests nor the word are in the process before the program has been read. In the other languages
one part of the word is read from standard input before the candidate's first line and the other stands in the tests, so
that neither memory nor files hold it whole. The tests' own primitives (`require`, `assert`, macros, aliases, shell
functions) are fixed before the candidate's source is read, or freed of what it made of them before the tests run.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING

from msgspec.structs import replace

from berry.sandboxes.base import Job, JobOutcome, SlotDied
from berry.sandboxes.host.queue import Overloaded
from berry.sandboxes.languages import SYSTEM_PATH
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.kinds.programs import python_function
from berry.verifiers.sandbox_limits import error_output, limits_of, reason_of
from berry.verifiers.sources import python_fault
from berry.verifiers.specs.code import ProgramTestsSpec, PythonFunctionSpec
from berry.verifiers.taken_over import disallowed, without_strings
from berry.verifiers.tested_programs import MAKERS, NoTests
from berry.verifiers.tested_programs import word as half_word

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

_GUESS = re.compile(rb"^[ \t]*([0-9a-f]{32})[ \t\r]*$", re.MULTILINE)
SAME_PROCESS, SPLIT_JUDGE = "same_process", "split_judge"
_CPP_END = re.compile(r"(?:return\s+0\s*;\s*)?\}\s*$")
_CPP_MAIN = re.compile(r"\bint\s+main\s*\(")
_CPP_DEFINE = re.compile(r"^[ \t]*(?:#|%:|\?\?=)[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_ASSERTION = re.compile(
    r"AssertionError|Assertion [`'\"].*failed|assertion failed|^[ \t]*--- FAIL: |^Failure: |Test failed!",
    re.IGNORECASE | re.MULTILINE,
)


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Runs the response's program with the problem's tests behind it."""
    spec = request.spec
    assert isinstance(spec, ProgramTestsSpec)
    if (name := tested_function(spec)) is not None:
        split = PythonFunctionSpec(
            entry_point=name, tests=spec.tests, prelude=spec.prelude, cpu_s=spec.cpu_s, memory_mb=spec.memory_mb
        )
        result = await python_function.verify(replace(request, spec=split), context)
        return replace(result, evidence={**result.evidence, "guarantee": SPLIT_JUDGE})
    result = await _same_process(spec, request, context)
    weak = {} if spec.trusted else {"weak": True}
    return replace(result, evidence={**result.evidence, "guarantee": SAME_PROCESS, **weak})


async def _same_process(spec: ProgramTestsSpec, request: CheckRequest, context: VerifierContext) -> Verdict:
    code = find_program(request.response, spec.language, tests=spec.tests)
    if code is None:
        return verdict(Reason.NO_CODE)
    if (found := disallowed(spec.language, code, spec.tests)) is not None:
        return verdict(Reason.DISALLOWED, note=f"defines {found!r}, with which the tests compare")
    if spec.language == "python":
        run = _trusted_python if spec.trusted else _python
        return await run(spec, code, request, context)
    part, key = secrets.token_bytes(16), secrets.token_bytes(16)
    try:
        source = program(spec, code, key.hex())
    except NoTests as error:
        return verdict(Reason.TESTS_BROKEN, note=str(error))
    job = Job(
        source=source,
        language=spec.language,
        stdin=(f"{part.hex()}\n",),
        limits=limits_of(spec, context.config),
        key=request.key or request.problem_id,
    )
    result = await context.pool.run(job)
    if not result.cases:
        return verdict(reason_of(result.outcome), note=result.error)
    case = result.cases[0]
    if case.outcome is JobOutcome.OK and said(case.stdout, _word(spec.language, part.hex(), key.hex())):
        return verdict(Reason.CORRECT)
    if case.outcome is JobOutcome.OK:
        return verdict(Reason.WRONG_ANSWER, note="ended before the tests did")
    note = error_output(case) or f"exit status {case.exit_code}"
    said_so = (case.stderr + b"\n" + case.stdout).decode("utf-8", "replace")
    failed = case.outcome is JobOutcome.RUNTIME_ERROR and _ASSERTION.search(said_so) is not None
    return verdict(Reason.WRONG_ANSWER if failed else reason_of(case.outcome), note=note)


def said(output: bytes, word: str) -> bool:
    """Whether an output holds the word on a line of its own, and no other line that might have been a guess."""
    return _GUESS.findall(output) == [word.encode()]


def _word(language: str, part: str, key: str) -> str:
    """The word that a program prints, made of the part that it read and the key in its tests."""
    if language not in ("cpp", "javascript"):  # the others have no hexadecimal numbers of that length, or no need
        return half_word(part, key)
    return f"{int(part, 16) ^ int(key, 16):032x}"


def fault(spec: ProgramTestsSpec) -> str | None:
    """Why the tests are not of the shape that their language needs; None when they are."""
    if spec.language == "python":
        return python_fault(spec.tests, "tests")
    try:
        program(spec, "", "0" * 32)
    except NoTests as error:
        return str(error)
    return None


def tested_function(spec: ProgramTestsSpec) -> str | None:
    """The one name that Python tests use as a function and do not define, so that the split judge can run them.

    None where there is no such name, several, or where the tests need the program itself: its variables, its classes,
    methods of what its function returns.
    """
    if spec.language != "python":
        return None
    try:
        tree, prelude = ast.parse(spec.tests), ast.parse(spec.prelude)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    known = set(vars(builtins)) | {"candidate"}
    used: set[str] = set()
    as_function: list[str] = []  # where a name is called, handed to a call or given another name
    loads: list[str] = []
    objects: set[str] = set()
    for node in (*ast.walk(prelude), *ast.walk(tree)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
                loads.append(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                known.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                known.add(name)
            case ast.alias(name=name, asname=asname):
                known.add((asname or name).partition(".")[0])
            case ast.ExceptHandler(name=str(name)):
                known.add(name)
        match node:
            case ast.Call(func=function, args=arguments):
                as_function += [n.id for n in (function, *arguments) if isinstance(n, ast.Name)]
            case ast.Assign(value=ast.Name(id=name)):
                as_function.append(name)
            case ast.Attribute(value=ast.Call(func=ast.Name(id=name))):
                objects.add(name)
    missing = used - known
    if "__name__" in used or "*" in known or len(missing) != 1:
        return None
    checks = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check"]
    if any(len(n.args.args) != 1 for n in checks):
        return None
    (name,) = missing
    plain = loads.count(name) == as_function.count(name) and name not in objects and not name[:1].isupper()
    return name if plain else None


async def _python(spec: ProgramTestsSpec, code: str, request: CheckRequest, context: VerifierContext) -> Verdict:
    """Runs the program, then the tests in its namespace, then asks a word back, each sent when the one before ended."""
    job = Job(
        source=f"{spec.prelude}\n{code}",
        limits=limits_of(spec, context.config),
        key=request.key or request.problem_id,
    )
    word = secrets.token_hex(16)
    try:
        async with context.pool.open(job) as session:
            case = session.loaded
            if case.outcome is JobOutcome.OK:
                case = await session.test(spec.tests)
            if case.outcome is JobOutcome.OK:
                case = await session.exec(repr(word))
                return verdict(Reason.CORRECT if case.value == word else Reason.WRONG_ANSWER)
    except Overloaded as error:
        return verdict(Reason.OVERLOADED, note=str(error))
    except SlotDied as error:
        return verdict(Reason.SANDBOX_FAULT, note=str(error))
    note = f"{case.error_type}: {case.error}" if case.error_type else error_output(case)
    return verdict(Reason.WRONG_ANSWER if case.error_type == "AssertionError" else reason_of(case.outcome), note=note)


async def _trusted_python(
    spec: ProgramTestsSpec, code: str, request: CheckRequest, context: VerifierContext
) -> Verdict:
    """Runs prelude, response, tests and the word as one source: trusted tests may enclose a response that is no
    program."""
    word = secrets.token_hex(16)
    job = Job(
        source=f"{spec.prelude}\n{code}\n{spec.tests}\nprint('\\n{word}')\n",
        stdin=("",),
        limits=limits_of(spec, context.config),
        key=request.key or request.problem_id,
    )
    result = await context.pool.run(job)
    if not result.cases:
        return verdict(reason_of(result.outcome), note=result.error)
    case = result.cases[0]
    if case.outcome is JobOutcome.OK:
        return verdict(Reason.CORRECT if said(case.stdout, word) else Reason.WRONG_ANSWER)
    failed = case.outcome is JobOutcome.RUNTIME_ERROR and _ASSERTION.search(case.stderr.decode("utf-8", "replace"))
    return verdict(Reason.WRONG_ANSWER if failed else reason_of(case.outcome), note=error_output(case))


def program(spec: ProgramTestsSpec, code: str, key: str) -> str:
    """The whole program, which reads a part of the word from standard input and prints the word at its end; raises
    NoTests. `key`: 32 hexadecimal digits, the part that stands in the tests."""
    return _PROGRAMS[spec.language](spec, code, key)


def _cpp(spec: ProgramTestsSpec, code: str, key: str) -> str:
    tests = spec.tests
    if not _CPP_MAIN.search(tests) or not _CPP_END.search(tests):
        raise NoTests("tests must end with `int main() { … }`")
    own = "w" + hashlib.blake2b(f"{code}\0{tests}".encode("utf-8", "replace"), digest_size=8).hexdigest()
    numbers = ", ".join(f"0x{key[i : i + 8]}u" for i in range(0, 32, 8))
    tests = _CPP_END.sub(f"p{own}({numbers});\nreturn 0;\n}}\n", tests)
    first = (
        f"#include <cstdio>\n#include <unistd.h>\nstatic char {own}[80];\n"
        f"__attribute__((constructor(101))) static void r{own}() {{\n"
        f"  long n = ::read(0, {own}, 64); {own}[n > 0 ? n : 0] = 0; if (::ftruncate(0, 0)) {{}}\n}}\n"
    )
    last = (
        f"static void p{own}(unsigned a, unsigned b, unsigned c, unsigned d) {{\n"
        f'  unsigned key[4] = {{a, b, c, d}}; std::fputs("\\n", stdout);\n'
        f'  for (int i = 0; i < 4; i++) {{ unsigned part = 0; std::sscanf({own} + 8 * i, "%8x", &part);\n'
        f'    std::printf("%08x", part ^ key[i]); }}\n  std::fputs("\\n", stdout); std::fflush(stdout);\n}}\n'
    )
    plain = without_strings("cpp", code)
    freed = "".join(f"#undef {name}\n" for name in dict.fromkeys(_CPP_DEFINE.findall(plain)))
    again = f"\n{freed}#undef NDEBUG\n#undef assert\n#include <cassert>\n#include <cstdio>\n"
    return f"{first}{spec.prelude}\n{code}\n{again}{last}{tests}"


_JAVASCRIPT = """(() => {
  const fs = require('node:fs'), vm = require('node:vm'), assert = require('node:assert'), load = require;
  const read = fs.readFileSync(0), part = new Uint8Array(read);  // no string: heap dumps show those
  const write = fs.writeSync, run = vm.runInThisContext;
  read.fill(0);  // it lies in a pool that every Buffer shows
  const refused = /^(node:)?(inspector|v8|worker_threads)(\\/|$)/, test = RegExp.prototype.test;
  try { fs.ftruncateSync(0, 0); } catch {}
  for (const part of [assert, assert.strict]) for (const name of Object.keys(part)) {
    Object.defineProperty(part, name, {value: part[name], writable: false, configurable: false});
  }
  const fixed = (name) => name === 'assert' || name === 'node:assert' ? assert
    : name === 'assert/strict' || name === 'node:assert/strict' ? assert.strict
    : Reflect.apply(test, refused, [name]) ? undefined : load(name);
  Object.defineProperty(globalThis, 'require', {value: fixed, writable: false, configurable: false});
  globalThis.module = {exports: {}};
  globalThis.exports = globalThis.module.exports;
  run(CANDIDATE, {filename: 'candidate.js'});
  run(TESTS, {filename: 'tests.js'});
  const digit = (c) => c > 57 ? c - 87 : c - 48, key = 'KEY', word = new Uint8Array(34).fill(10);
  for (let i = 0; i < 32; i++) {
    const d = digit(part[i]) ^ parseInt(key[i], 16);
    word[i + 1] = d > 9 ? d + 87 : d + 48;
  }
  write(1, word);
})();
"""


def _javascript(spec: ProgramTestsSpec, code: str, key: str) -> str:
    candidate, tests = (json.dumps(text) for text in (f"{spec.prelude}\n{code}", spec.tests))
    head, _, rest = _JAVASCRIPT.partition("CANDIDATE")
    middle, _, end = rest.partition("TESTS")
    return f"{head}{candidate}{middle}{tests}{end.replace('KEY', key)}"


_FREED = rf"""
\unset -f unalias [ test printf echo true false command read cd sleep expr cmp diff grep
\unalias -a
PATH={SYSTEM_PATH}
"""


def _shell(spec: ProgramTestsSpec, code: str, key: str) -> str:
    own = "w" + secrets.token_hex(8)
    first = f"IFS= read -r {own}\n(: > /proc/self/fd/0) 2> /dev/null || true\n"
    last = f"printf '\\n%.16s%s\\n' \"${own}\" {key[:16]}\n"
    return f"{first}{spec.prelude}\n{code}\n{_FREED}trap - EXIT\nset -e\n{spec.tests}\n{last}"


_PROGRAMS = {"cpp": _cpp, "javascript": _javascript, "shell": _shell, **MAKERS}
