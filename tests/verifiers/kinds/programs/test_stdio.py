"""`stdio`: programs by what they print."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.kinds.programs.stdio import same_output
from berry.verifiers.specs.code import StdioCase, StdioSpec

SUM = StdioSpec(cases=(StdioCase(stdin="1 2\n", stdout="3\n"), StdioCase(stdin="4 5\n", stdout="9\n")))
READ = "print(sum(map(int, input().split())))"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (READ, Reason.CORRECT),
        ("print(3)", Reason.WRONG_ANSWER),
        ("", Reason.NO_CODE),
        ("print(", Reason.COMPILE_ERROR),
        ("import sys\nprint(3)\nsys.exit(0)", Reason.WRONG_ANSWER),
        ("import sys\nprint(sum(map(int, input().split())))\nsys.exit(1)", Reason.RUNTIME_ERROR),
        ("raise ValueError", Reason.RUNTIME_ERROR),
        ("while True: print('x' * 10000)", Reason.OUTPUT_LIMIT),
    ],
)
def test_each_end_of_a_program_has_its_reason(check, code, reason) -> None:
    assert check(SUM, code).reason is reason


def test_the_evidence_shows_the_failing_case(check) -> None:
    evidence = check(SUM, "print(3)").evidence
    assert (evidence["case"], evidence["input"], evidence["expected"], evidence["got"]) == (1, "4 5\n", "9\n", "3\n")


@pytest.mark.parametrize(
    ("compare", "printed", "passes"),
    [
        ("tokens", "1   2\n\n3", True),
        ("tokens", "1 2 3 4", False),
        ("tokens", "1.0 2 3", False),
        ("lines", "1 2\n3\n\n", True),
        ("lines", "1 2 \n3", True),
        ("lines", "1 2 3", False),
        ("floats", "1.0000000001 2\n3", True),
        ("floats", "1.1 2 3", False),
        ("floats", "nan 2 3", False),
    ],
)
def test_ways_to_compare(check, compare, printed, passes) -> None:
    spec = StdioSpec(cases=(StdioCase(stdout="1 2\n3\n"),), compare=compare)
    assert check(spec, f"print({printed!r})").passed is passes


def test_a_checker_program_decides_where_many_outputs_are_right(check) -> None:
    checker = (
        "def check(stdin, expected, output):\n    a, b = map(int, output.split())\n    return a + b == int(stdin)\n"
    )
    spec = StdioSpec(cases=(StdioCase(stdin="7", stdout="0 7"),), compare="checker", checker=checker)
    assert check(spec, "print(3, 4)").passed
    assert check(spec, "print(3, 5)").reason is Reason.WRONG_ANSWER
    broken = spec.model_copy(update={"checker": "def check(stdin, expected, output):\n    return undefined\n"})
    assert check(broken, "print(3, 4)").reason is Reason.TESTS_BROKEN
    sly = spec.model_copy(update={"checker": "def check(stdin, expected, output):\n    return 'yes'\n"})
    assert check(sly, "print(3, 4)").reason is Reason.WRONG_ANSWER


def test_shell_is_a_language_too(check) -> None:
    spec = SUM.model_copy(update={"language": "shell"})
    verdict = check(spec, "read a b; echo $((a + b))")
    assert verdict.passed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("cpp", "#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }"),
        (
            "javascript",
            "const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number); console.log(a + b);",
        ),
    ],
)
def test_compiled_languages_and_scripts(check, language, code) -> None:
    verdict = check(SUM.model_copy(update={"language": language}), code)
    if verdict.reason is Reason.MISSING_TOOL:
        pytest.skip(f"no tool for {language} on this host")
    assert verdict.passed


@pytest.mark.slow
def test_a_program_that_does_not_compile_is_told_apart(check) -> None:
    verdict = check(SUM.model_copy(update={"language": "cpp"}), "int main() { return }")
    if verdict.reason is Reason.MISSING_TOOL:
        pytest.skip("no C++ compiler on this host")
    assert (verdict.outcome, verdict.reason) == (Outcome.FAIL, Reason.COMPILE_ERROR)


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("1.0", "1.0000000001", True),
        ("1000000.0", "1000000.5", True),
        ("1000000.0", "1000002.0", False),
        ("0.0", "0.0000005", True),
        ("0.0", "0.000002", False),
        ("3", "3.0", True),
        ("3.0", "3", True),
        ("007", "+7", True),
        ("-0", "0", True),
        ("12345678901234567890", "12345678901234567891", False),
        ("1" * 5000, "1" * 5000, True),
        ("1" * 5000, "1" * 4999 + "2", False),
        ("inf", "Infinity", True),
        ("inf", "-inf", False),
        ("inf", "nan", False),
        ("inf", "1e400", False),
        ("1e400", "2e400", False),
        ("1.5", "inf", False),
        ("inf", "1.5", False),
        ("nan", "NaN", True),
        ("nan", "1.5", False),
        ("1.5", "nan", False),
        ("1_0", "10", False),
        ("1000000007", "1000000000.0", False),
        ("12345678901234567", "12345678901234568.0", False),
        ("100000000", "100000000.0001", True),
        ("3", "2.9999999", True),
        ("0", "1e-99999999999999999999", False),
        ("yes", "1.0", False),
        ("٣", "3", False),
    ],
)
def test_numbers_are_compared_as_what_they_are(expected, got, same) -> None:
    spec = StdioSpec(cases=(StdioCase(stdout=expected),), compare="floats")
    assert same_output(spec, expected, got) is same


CHECKER = """
def check(stdin, expected, output):
    if "spin" in output:
        while True: pass
    if "odd" in output:
        return "yes"
    return int(output) == int(expected)
"""


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("42", Reason.CORRECT),
        ("41", Reason.WRONG_ANSWER),
        ("banana", Reason.WRONG_ANSWER),
        ("odd", Reason.WRONG_ANSWER),
        ("spin", Reason.WRONG_ANSWER),
        ("9" * 5000, Reason.WRONG_ANSWER),
    ],
)
def test_an_output_that_the_checker_program_fails_over_is_wrong(check, printed, reason) -> None:
    spec = StdioSpec(cases=(StdioCase(stdout="42"),), compare="checker", checker=CHECKER, cpu_s=1)
    verdict = check(spec, f"print({printed!r})")
    assert verdict.reason is reason, dict(verdict.evidence)


def test_a_checker_program_that_fails_over_the_expected_output_too_is_the_problems_fault(check) -> None:
    spec = StdioSpec(cases=(StdioCase(stdout="forty-two"),), compare="checker", checker=CHECKER)
    assert check(spec, "print('banana')").reason is Reason.TESTS_BROKEN
