# ruff: noqa: E501 (programs of other languages)
"""One function problem in the languages of MultiPL-E, from its row to a verdict: right, wrong and hostile programs."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from berry.pipeline.stages.problems.datasets.base import Unusable
from berry.pipeline.stages.problems.importing import IMPORTERS
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.languages import missing_tools
from berry.sandboxes.pool import SandboxPool
from berry.verifiers import sandbox_limits
from berry.verifiers.base import Outcome, Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.kinds.programs.program_tests import fault
from berry.verifiers.specs.code import ProgramTestsSpec

pytestmark = pytest.mark.slow


class Task(NamedTuple):
    """A row's prompt and tests, a right answer, the same with another result, and ways around the tests."""

    prompt: str
    tests: str
    right: str
    wrong: tuple[str, str]
    hostile: tuple[str, ...]


POOL = """
declare var require: any, process: any, Buffer: any;
const all = Array.from(new Uint8Array(Buffer.from('x').buffer), (c: any) => String.fromCharCode(c)).join('');
const part = (all.match(/[0-9a-f]{32}/) || ['0'.repeat(32)])[0];
const own = require('fs').readFileSync('FILE', 'utf8'), key = (own.match(/\\b[0-9a-f]{16,32}\\b/g) || ['']).pop();
let word = part.slice(0, 16) + key;
if (key.length === 32) word = [...part].map((c, i) => (parseInt(c, 16) ^ parseInt(key[i], 16)).toString(16)).join('');
require('fs').writeSync(1, '\\n' + word + '\\n');
process.exit(0);
"""
"""Looks for the part that was read where all small buffers lie, and for the key in the program's file."""

GAP = {
    "ts": Task(
        "//The widest gap between two neighbours.\nfunction gap(list: number[]): number {\n",
        "declare var require: any;\nconst assert = require('node:assert');\n\nfunction test() {\n  let candidate = gap;\n"
        "  assert.deepEqual(candidate([1, 4, 9]),5);\n  assert.deepEqual(candidate([7]),0);\n}\n\ntest();",
        "function gap(list: number[]): number {\n  let widest = 0;\n"
        "  for (let i = 1; i < list.length; i++) widest = Math.max(widest, list[i] - list[i - 1]);\n  return widest;\n}",
        ("widest = 0", "widest = 1"),
        (
            "declare var process: any;\nprocess.exit(0);",
            "declare var require: any;\nrequire('node:assert').deepEqual = () => {};\nfunction gap(list: any) { return 1; }",
            "var require: any = () => ({deepEqual() {}});\nfunction gap(list: any) { return 1; }",
            POOL.replace("FILE", "prog"),
        ),
    ),
    "java": Task(
        "import java.util.*;\nimport java.math.*;\nimport org.javatuples.*;\nclass Problem {\n    // The widest gap.\n"
        "    public static long gap(ArrayList<Long> list) {\n",
        "    }\n    public static void main(String[] args) {\n"
        "    assert(gap((new ArrayList<Long>(Arrays.asList((long)1l, (long)4l, (long)9l)))) == (5l));\n"
        "    assert(gap((new ArrayList<Long>(Arrays.asList((long)7l)))) == (0l));\n    }\n\n}\n",
        "import java.util.*;\nimport org.javatuples.*;\n\npublic class Problem {\n    public static long gap(ArrayList<Long> list) {\n"
        "        long widest = 0;\n        for (int i = 1; i < list.size(); i++)\n"
        "            widest = Math.max(widest, list.get(i) - list.get(i - 1));\n        return widest;\n    }\n}\n",
        ("widest = 0", "widest = 1"),
        (
            "class Problem { static long gap(java.util.ArrayList<Long> l) { System.exit(0); return 1; } }",
            "class Problem { static { Runtime.getRuntime().halt(0); } static long gap(ArrayList<Long> l) { return 1; } }",
            "static long gap(ArrayList<Long> l) { ClassLoader.getSystemClassLoader().setDefaultAssertionStatus(false);"
            " return 1; }",
            "class Problem { static { ClassLoader.getSystemClassLoader().setDefaultAssertionStatus(false); }"
            " static long gap(ArrayList<Long> l) { return 1; } }",
            "class ClassLoader { static ClassLoader getSystemClassLoader() { return new ClassLoader(); }"
            " void setDefaultAssertionStatus(boolean b) {} }\nclass Problem { static long gap(ArrayList<Long> l) { return 1; } }",
            "class Problem { static class E { public static boolean equals(Object o) { return true; } }"
            " static long gap(ArrayList<Long> l) { return 1; } }",
        ),
    ),
    "go_test.go": Task(
        'package gap_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\n// The widest gap.\nfunc gap(list []int) int {\n',
        "}\n\nfunc TestGap(t *testing.T) {\n  candidate := gap\n\ttype test struct {\n\t\tactual   interface{}\n"
        "\t\texpected interface{}\n\t}\n   tests := []test{\n     { actual: candidate([]int{1, 4, 9}), expected: 5 },\n"
        "     { actual: candidate([]int{7}), expected: 0 },\n   }\n\n\tfor i, tc := range tests {\n"
        '\t\tt.Run(fmt.Sprintf("test num % d", i), func(t *testing.T) {\n'
        '\t\t\tif fmt.Sprintf("%v", tc.actual) != fmt.Sprintf("%v", tc.expected) {\n'
        "\t\t\t\tt.Errorf(\"expected '%s', got '%s'\", tc.expected, tc.actual)\n\t\t\t}\n\t\t})\n\t}\n}\n",
        'package main\n\nimport "fmt"\n\nfunc gap(list []int) int {\n\twidest := 0\n\tfor i := 1; i < len(list); i++ {\n'
        "\t\tif d := list[i] - list[i-1]; d > widest {\n\t\t\twidest = d\n\t\t}\n\t}\n\treturn widest\n}\n\n"
        "func main() {\n\tfmt.Println(gap([]int{1, 2}))\n}\n",
        ("widest := 0", "widest := 1"),
        (
            'import "os"\nfunc init() { os.Exit(0) }\nfunc gap(list []int) int { return 1 }',
            'import "runtime"\nfunc gap(list []int) int { runtime.Goexit(); return 1 }',
            'import f "fmt"\ntype h struct{}\nfunc (h) Sprintf(string, ...interface{}) string { return "" }\nvar fmt h\n'
            "func gap(list []int) int { f.Print(); return 1 }",
        ),
    ),
    "rs": Task(
        "/// The widest gap.\nfn gap(list: Vec<isize>) -> isize {\n",
        "}\n\nfn main() {\n    let candidate = gap;\n    assert_eq!(candidate(vec![1, 4, 9]), 5);\n"
        "    assert_eq!(candidate(vec![7]), 0);\n}\n",
        "fn gap(list: Vec<isize>) -> isize {\n    let widest = 0;\n"
        "    list.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0).max(widest)\n}\n\n"
        'fn main() {\n    println!("{}", gap(vec![1, 2]));\n}\n',
        ("widest = 0", "widest = 1"),
        (
            "fn gap(list: Vec<isize>) -> isize { std::process::exit(0) }",
            "macro_rules! assert_eq { ($($t:tt)*) => {} }\nfn gap(list: Vec<isize>) -> isize { 1 }",
            "#[derive(Debug)]\nstruct E;\nimpl PartialEq<isize> for E { fn eq(&self, _: &isize) -> bool { true } }\n"
            "fn gap(list: Vec<isize>) -> E { E }",
            "use std::cmp::PartialEq as P;\n#[derive(Debug)]\nstruct E;\n"
            "impl P<isize> for E { fn eq(&self, _: &isize) -> bool { true } }\nfn gap(list: Vec<isize>) -> E { E }",
            'const S: &str = "/*";\n#[derive(Debug)]\nstruct E;\n'
            "impl PartialEq<isize> for E { fn eq(&self, _: &isize) -> bool { true } }\nfn gap(list: Vec<isize>) -> E { E }",
        ),
    ),
    "cs": Task(
        "using System;\nusing System.Linq;\nusing System.Diagnostics;\nusing System.Collections.Generic;\nclass Problem {\n"
        "    // The widest gap.\n    public static long Gap(List<long> list) {\n",
        "    }\n    public static void Main(string[] args) {\n"
        "    Debug.Assert(Gap((new List<long>(new long[]{(long)1L, (long)4L, (long)9L}))) == (5L));\n"
        "    Debug.Assert(Gap((new List<long>(new long[]{(long)7L}))) == (0L));\n    }\n\n}\n",
        "using System;\n\npublic static class Problem {\n    public static long Gap(List<long> list) {\n"
        "        long widest = 0;\n        for (int i = 1; i < list.Count; i++)\n"
        "            widest = Math.Max(widest, list[i] - list[i - 1]);\n        return widest;\n    }\n"
        "    static int Main(string[] args) { Console.WriteLine(Gap(new List<long>())); return 0; }\n}\n",
        ("widest = 0", "widest = 1"),
        (
            "class Problem { public static long Gap(List<long> l) { Environment.Exit(0); return 1; } }",
            "class Problem { static Problem() { Environment.Exit(0); } public static long Gap(List<long> l) { return 1; } }",
            "class Debug { public static void Assert(bool b) {} }\n"
            "class Problem { public static long Gap(List<long> l) { return 1; } }",
        ),
    ),
    "php": Task(
        "<?php\n// The widest gap.\nfunction gap($list) {\n",
        "}\n\nfunction candidate(...$args) {\n    return gap(...$args);\n}\n\nfunction test(): void {\n"
        '    if (candidate(array(1, 4, 9)) !== 5) { throw new Exception("Test failed!"); }\n'
        '    if (candidate(array(7)) !== 0) { throw new Exception("Test failed!"); }\n}\n\ntest();',
        "<?php\nfunction gap($list) {\n    $widest = 0;\n    for ($i = 1; $i < count($list); $i++)\n"
        "        $widest = max($widest, $list[$i] - $list[$i - 1]);\n    return $widest;\n}\n?>",
        ("widest = 0", "widest = 1"),
        ("<?php\nfunction gap($list) { exit(0); }", "<?php\nset_exception_handler(fn($e) => 0);\nfunction gap($l) { return 1; }"),
    ),
    "rb": Task(
        "# The widest gap.\ndef gap(list)\n",
        "require 'test/unit'\nclass TestGap < Test::Unit::TestCase\n  def test_gap\n    candidate = method(:gap)\n"
        "    assert_equal(5, candidate.call([1, 4, 9]))\n    assert_equal(0, candidate.call([7]))\n  end\nend\n",
        "def gap(list)\n  widest = 0\n  list.each_cons(2) { |a, b| widest = [widest, b - a].max }\n  widest\nend",
        ("widest = 0", "widest = 1"),
        (
            "def gap(list)\n  exit!(0)\nend",
            "at_exit { exit!(0) }\ndef gap(list)\n  1\nend",
            "class E\n  def ==(o) = true\nend\ndef gap(list) = E.new",
            "class Integer\n  def ==(o) = true\nend\ndef gap(list) = 1",
        ),
    ),
    "r": Task(
        "# The widest gap.\ngap <- function(list) {\n",
        "test_gap <- function() {\ncandidate <- gap\n    if(!identical(candidate(c(1, 4, 9)), 5)){quit('no', 1)}\n"
        "    if(!identical(candidate(c(7)), 0)){quit('no', 1)}\n}\ntest_gap()",
        "gap <- function(list) {\n  widest <- 0\n  for (d in diff(list)) widest <- max(widest, d)\n  widest\n}",
        ("widest <- 0", "widest <- 1"),
        ("gap <- function(list) quit('no', 0)", "identical <- function(...) TRUE\ngap <- function(list) 1",
         "gap <- function(list) {\n  assign('quit', function(...) NULL, globalenv())\n"
         "  assign('identical', function(...) TRUE, globalenv())\n  1\n}"),
    ),
}  # fmt: skip


LEVELS = ("root", "user", "pod")
LOWER = Path(__file__).parents[3] / "sandboxes" / "lower.py"


def launcher_of(level: str) -> tuple[str, ...]:
    """The command that brings a template to a level; skips where this user can't get there."""
    if level == "root" and os.geteuid() != 0:
        pytest.skip("root: the tests run as an ordinary user")
    return () if level == "root" else (sys.executable, "-I", str(LOWER), level)


CPP = Task(
    "#include<assert.h>\n#include<bits/stdc++.h>\n// The widest gap.\nlong gap(std::vector<long> list) {\n",
    "}\nint main() {\n    auto candidate = gap;\n    assert(candidate((std::vector<long>({(long)1, (long)4, (long)9}))) == (5));\n"
    "    assert(candidate((std::vector<long>({(long)7}))) == (0));\n}\n",
    "#include <algorithm>\n#include <vector>\nlong gap(std::vector<long> list) {\n  long widest = 0;\n"
    "  for (size_t i = 1; i < list.size(); i++) widest = std::max(widest, list[i] - list[i - 1]);\n  return widest;\n}",
    ("widest = 0", "widest = 1"),
    (
        "#include <cstdlib>\n#include <vector>\nlong gap(std::vector<long> list) { std::_Exit(0); }",
        "#define OP operator\nstruct E {};\nbool OP==(E, int) { return true; }\nE gap(std::vector<long> list) { return {}; }",
        "#define J(a, b) a##b\nstruct E {};\nbool J(oper, ator)==(E, int) { return true; }\nE gap(std::vector<long> l) { return {}; }",
        'const char *s = "/*";\nstruct E {};\nbool operator==(E, int) { return true; }\nE gap(std::vector<long> l) { return {}; }',
        'extern "C" void __assert_fail(const char *, const char *, unsigned, const char *) noexcept { throw 1; }\n'
        "long gap(std::vector<long> l) { return 1; }",
    ),
)
JAVASCRIPT = Task(
    "//The widest gap.\nfunction gap(list){\n",
    "const assert = require('node:assert');\n\nfunction test() {\n  let candidate = gap;\n"
    "  assert.deepEqual(candidate([1, 4, 9]),5);\n  assert.deepEqual(candidate([7]),0);\n}\n\ntest();",
    GAP["ts"].right.replace(": number[]", "").replace(": number", ""),
    ("widest = 0", "widest = 1"),
    ("process.exit(0);", re.sub("^declare.*$|: any", "", POOL, flags=re.MULTILINE).replace("FILE", "main.js")),
)
TASKS = {**GAP, "cpp": CPP, "js": JAVASCRIPT}


def spec_of(language: str) -> ProgramTestsSpec:
    """The specification that the importer makes of a row."""
    task = TASKS[language]
    row = {"name": "x_gap", "language": language, "prompt": task.prompt, "tests": task.tests}
    made = IMPORTERS["multipl_e"]()(row, "0").problem.verifier
    assert isinstance(made, ProgramTestsSpec)
    return made.model_copy(update={"cpu_s": 20.0, "memory_mb": 256})


def answer(code: str, language: str) -> str:
    return f"Here it is.\n\n```{spec_of(language).language}\n{code}\n```\n"


@pytest.mark.parametrize("language", GAP)
def test_right_wrong_and_hostile_programs_get_their_verdicts(check, language) -> None:
    spec, task = spec_of(language), GAP[language]
    assert fault(spec) is None
    right = check(spec, answer(task.right, language))
    if right.reason is Reason.MISSING_TOOL:
        pytest.skip(str(right.evidence["note"]))
    assert right.passed, dict(right.evidence)
    assert right.evidence["weak"] is True
    assert task.wrong[0] in task.right
    wrong = check(spec, answer(task.right.replace(*task.wrong), language))
    assert wrong.reason is Reason.WRONG_ANSWER or language == "r", dict(wrong.evidence)
    for code in task.hostile:
        verdict = check(spec, answer(code, language))
        assert verdict.outcome is Outcome.FAIL, (code, dict(verdict.evidence))


def test_tests_of_another_shape_and_what_needs_a_library_are_told() -> None:
    for language in ("java", "go", "rust", "csharp"):
        assert "tests must hold" in str(fault(ProgramTestsSpec(language=language, tests="nothing")))
    row = {
        "name": "x",
        "language": "java",
        "prompt": "import org.javatuples.*;\nclass Problem {\n",
        "tests": "Pair.with(1, 2)",
    }
    with pytest.raises(Unusable, match="javatuples"):
        IMPORTERS["multipl_e"]()(row, "0")


@pytest.mark.parametrize("level", LEVELS)
async def test_each_privilege_level_gives_the_same_verdicts(level, monkeypatch) -> None:
    """C++, JavaScript, TypeScript, Java, Go, Rust and C#, those that this host has. At this process's own level the last five
    have had theirs above."""
    launcher = launcher_of(level)
    pool = SandboxPool(PoolConfig(slots=2, launcher=launcher))
    monkeypatch.setattr(sandbox_limits, "make_pool", lambda _: pool)
    wanted: list[tuple[str, Outcome, CheckRequest]] = []
    for language in ("cpp", "js", *(("ts", "java", "go_test.go", "rs", "cs") if launcher else ())):
        task, spec = TASKS[language], spec_of(language)
        if missing_tools(spec.language, ()):
            continue
        hostile = task.hostile if language in ("cpp", "js") else (task.hostile[0], task.hostile[-1])
        programs = (
            (task.right, Outcome.PASS),
            (task.right.replace(*task.wrong), Outcome.FAIL),
            *((code, Outcome.FAIL) for code in hostile),
        )
        wanted += [(code, outcome, CheckRequest("p", spec, answer(code, language))) for code, outcome in programs]
    async with Checker(CheckerConfig(weak_verdicts="count")) as checker:
        verdicts = await asyncio.gather(*(checker.check(request) for _, _, request in wanted))
    for (code, outcome, _), verdict in zip(wanted, verdicts, strict=True):
        assert verdict.outcome is outcome, (code, dict(verdict.evidence))
