"""What this process itself reads of a response, or of what its program printed, takes time linear in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from berry.sandboxes.languages import java_names
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.kinds import model
from berry.verifiers.kinds.programs import program_tests, sql
from berry.verifiers.proofs import lean, vernacular
from berry.verifiers.specs.code import ProgramTestsSpec
from berry.verifiers.taken_over import disallowed

CHARS, MOST_CPU_S = 60_000, 2.0
TESTS = {
    "cpp": "int main() { assert(f()); }",
    "java": "public static void main(String[] args) { }",
    "go": "func TestF(t *testing.T) { }",
    "rust": "fn main() { }",
    "csharp": "public static void Main(string[] args) { }",
    "typescript": "f()",
    "javascript": "f()",
    "php": "f();",
    "ruby": "f",
    "r": "f()",
    "shell": "f",
}
UNITS = (
    "/*", "'/*", "//", "\\\n/*", "impl PartialEq ", "impl ", "operator ", "class ", "public ", "using a=b<", "import (",
    "import \"a\" ", "namespace a", "static async ", "#define ", "<?", "_", "1", "\n", "\r\n", " ", "«",
    "'a'", '"', 'R"(', 'r#"', '@"', "equals(", "\\u0041", "operator a", "def ", "alias ", "#define a a##\n", "/-", "(*",
    "{", "[", "```python\n", "~~~\n", "\\boxed{", "select ", "<|", "[|", "VERDICT: ",
)  # fmt: skip
FORGOTTEN = "```python\n" + "a = [1, 2]\n" * 900 + '"""\n' + "```python\n" * 900


def _reads() -> dict[str, Callable[[str], object]]:
    def made(language: str, tests: str) -> Callable[[str], object]:
        spec = ProgramTestsSpec.model_validate({"language": language, "tests": tests})
        return lambda code: program_tests.program(spec, code, "0" * 32)

    programs = {f"program in {language}": made(language, tests) for language, tests in TESTS.items()}
    return programs | {
        **{
            f"comparisons in {language}": partial(disallowed, language, tests="a.equals(b).Equals(c) Arrays Vec")
            for language in ("rust", "csharp", "cpp", "java", "ruby")
        },
        "assertions printed": program_tests._ASSERTION.search,
        "guesses printed": lambda text: program_tests._GUESS.findall(text.encode()),
        "a program": lambda text: find_program(text, "python", entry_point="f"),
        "a query": sql.find_query,
        "a proof in lean": lambda text: (lean.without_comments(text), lean._REFUSED.search(text)),
        "a proof in coq": lambda text: (vernacular.without_comments(text), vernacular.refused(text)),
        "a vote": model.vote_of,
        "names in java": java_names,
        "control tokens": model.inert,
    }


@pytest.mark.parametrize("name", _reads())
def test_no_text_keeps_this_process_busy(name: str) -> None:
    read = _reads()[name]
    for unit in (*UNITS, FORGOTTEN):
        text = unit * (CHARS // len(unit)) or unit
        start = time.process_time()
        read(text)
        read(f"x{text}x")
        assert time.process_time() - start < MOST_CPU_S, unit[:20]
