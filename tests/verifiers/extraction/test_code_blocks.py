"""Which program a response answers with: by language and by what it defines."""

from __future__ import annotations

import pytest

from berry.verifiers.extraction.code_blocks import blocks, find_program

ADD = "def add(a, b):\n    return a + b\n"
SOLUTION = f"```python\n{ADD}```\n"
MAIN = "a, b = map(int, input().split())\nprint(a + b)\n"
PROGRAM = f"```python\n{MAIN}```\n"


def function(response: str, prompt: str = "") -> str | None:
    return find_program(response, "python", entry_point="add", prompt=prompt)


@pytest.mark.parametrize(
    "after",
    [
        "It prints:\n```\n3\n```",
        "Run it:\n```bash\necho 1 2 | python main.py\n```",
        "A test:\n```python\nassert add(1, 2) == 3\nprint(add(0, 0))\n```",
        "Usage:\n```py\nfrom solution import add\nfor i in range(3):\n    total = add(i, i)\n```",
        "In short:\n```markdown\n# Summary\nIt adds.\n```",
        'As JSON:\n```json\n{"add": 1}\n```',
        "```",
    ],
)
def test_what_stands_behind_a_solution_is_passed_over(after: str) -> None:
    assert function(f"<think>```python\ndef add(): pass\n```</think>Here:\n{SOLUTION}\n{after}") == ADD
    if "assert" not in after and "import add" not in after:
        assert find_program(f"{PROGRAM}\n{after}", "python") == MAIN


def test_the_last_that_defines_it_wins_with_its_label_or_without() -> None:
    better = ADD.replace("a + b", "b + a")
    assert function(f"{SOLUTION}\nBetter:\n```python\n{better}```") == better
    assert function(f"```\n{ADD}```\nTry:\n```python\nprint(add(1, 2))\n```") == ADD
    assert function("```python\nadd = lambda a, b: a + b\n```") == "add = lambda a, b: a + b\n"
    assert function("```python\nprint(add(1, 2))\n```") == "print(add(1, 2))\n"


def test_without_a_fence_the_code_is_cut_out_of_the_prose() -> None:
    assert function(ADD) == ADD
    assert function(f"We add them.\n\n{ADD}\nThis works, since addition is addition.") == ADD
    helper = f"import math\n\n{ADD}"
    assert function(f"Here is it:\n{helper}\nDone!") == helper
    assert find_program(MAIN, "python") == MAIN


def test_a_fence_that_is_forgotten_or_never_closed() -> None:
    assert function(f"```python\n{ADD}") == ADD
    assert function(f"```python\n{ADD}```python\nprint(add(1, 2))\n```") == ADD


def test_a_body_goes_on_where_the_prompt_ends() -> None:
    prompt = 'Complete it.\n\n```python\nimport math\n\ndef add(a, b):\n    """Sum."""\n```'
    for body in ("    return a + b", "return a + b"):
        program = function(f"```python\n{body}\n```", prompt)
        assert program is not None
        namespace: dict[str, object] = {}
        exec(program, namespace)
        assert namespace["add"](1, 2) == 3  # type: ignore[operator]
    assert function(SOLUTION, prompt) == ADD


def test_a_method_is_called_by_its_name() -> None:
    program = function("```python\nclass Solution:\n    def add(self, a, b):\n        return a + b\n```")
    assert program is not None
    namespace: dict[str, object] = {}
    exec(program, namespace)
    assert namespace["add"](1, b=2) == 3  # type: ignore[operator]


def test_other_languages_are_found_by_their_label() -> None:
    cpp = "#include <cstdio>\nint main() {}\n"
    response = f"```cpp\n{cpp}```\nCompile:\n```bash\ng++ a.cpp\n```\n```\n3\n```"
    assert find_program(response, "cpp") == cpp
    assert find_program(f"```\n{cpp}```\n```bash\ng++ a.cpp\n```", "cpp") == cpp
    assert find_program("```python\nprint(1)\n```", "cpp") is None
    assert find_program(cpp, "cpp") == cpp


CALLED = {
    "javascript": ("const gap = (list) => 0;", "console.log(gap([1, 2]));", "assert.deepEqual(gap([7]), 0);"),
    "typescript": ("export function gap(list: number[]): number { return 0; }", "const a = gap([1]);", "gap([7])"),
    "cpp": (
        "long gap(std::vector<long> list) {\n  return 0;\n}",
        "int main() { return gap({1}); }",
        "int main() { gap({7}); }",
    ),
    "java": (
        "class Problem {\n  public static long gap(ArrayList<Long> list) { return 0; }\n}",
        "public class Main {\n  public static void main(String[] args) { System.out.println(Problem.gap(list)); }\n}",
        "public static void main(String[] args) { assert(gap(list) == 0); }",
    ),
    "go": ("func gap(list []int) int { return 0 }", "func main() { fmt.Println(gap(nil)) }", "candidate := gap"),
    "rust": ("fn gap(list: Vec<isize>) -> isize { 0 }", "fn main() { gap(vec![]); }", "fn main() { let c = gap; }"),
    "csharp": (
        "class Problem {\n  public static long Gap(List<long> list) {\n    return 0;\n  }\n}",
        "static void Main(string[] args) {\n  Console.WriteLine(Problem.Gap(list));\n}",
        "public static void Main(string[] args) { Debug.Assert(Gap(list) == 0); }",
    ),
    "php": ("<?php\nfunction gap($list) { return 0; }", "<?php\necho gap([1]);", "return gap(...$args);"),
    "ruby": ("def gap(list)\n  0\nend", "puts gap([1])", "candidate = method(:gap)"),
    "r": ("gap <- function(list) {\n  0\n}", "l <- c(1)\nprint(gap(l))", "candidate <- gap"),
    "shell": ("gap() {\n  echo 0\n}", "gap 1 2", '[ "$(gap 7)" = 0 ]'),
}
"""By language: a solution, a snippet that uses it, and tests."""


@pytest.mark.parametrize("language", CALLED)
def test_in_every_language_the_block_that_defines_what_the_tests_call_is_judged(language: str) -> None:
    solution, usage, tests = CALLED[language]
    response = f"```{language}\n{solution}\n```\nUse it like this:\n```{language}\n{usage}\n```\n"
    assert (find_program(response, language, tests=tests) or "").strip() == solution
    again = f"{response}```{language}\n{solution} \n```"
    assert (find_program(again, language, tests=tests) or "").endswith(f"{solution[-1]} \n")
    assert (find_program(f"```{language}\n{usage}\n```", language, tests=tests) or "").strip() == usage


@pytest.mark.parametrize("language", ["cpp", "java", "go", "rust", "csharp"])
def test_without_tests_the_block_with_a_main_is_judged(language: str) -> None:
    helper, whole, _ = CALLED[language]
    response = f"```{language}\n{whole}\n```\nIts core:\n```{language}\n{helper}\n```"
    assert (find_program(response, language) or "").strip() == whole


def test_a_stray_fence_behind_bare_code_opens_nothing() -> None:
    assert (function(f"{ADD}```") or "").strip() == ADD.strip()


def test_no_program_is_none() -> None:
    assert function("") is None
    assert function("<think>x</think>  ") is None
    assert function("```bash\nls\n```") is None


def test_hostile_text_takes_linear_time() -> None:
    for text in (
        "```\n" * 50_000,
        "def " * 100_000,
        "class A\n" * 50_000,
        "`" * 200_000,
        "\n    def add" * 50_000,
        "let a:" * 30_000,
        "int a " * 30_000,
        "".join(f"\nint f{i}() {{" for i in range(10_000)),
    ):
        find_program(f"```js\n{text}", "javascript", tests="gap(1)")
        function(text)
        assert len(blocks(text)) <= 64


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("text\n```python\na = 1\n```\nmore\n```\nb = 2\n```\nend", "a = 1\n"),
        ("text\n```python\na = 1\n```\nmore\n```py\nb = 2\n```\nend", "b = 2\n"),
        ("```python\na = 1\n", "a = 1\n"),
        ("def f(): return 1", "def f(): return 1"),
        ("```python\nx = '''\n```js\n'''\n```", "x = '''\n```js\n'''\n"),
        ("~~~\na\n~~~", "a\n"),
        ("<think>```\nno\n```</think>yes()", "yes()"),
        ("```python\n```", None),
        ("", None),
    ],
)
def test_without_an_entry_point_it_is_the_last_in_its_language_else_everything(response: str, code: str | None) -> None:
    assert find_program(response, "python") == code


def test_a_prompt_that_speaks_of_thinking_still_gives_its_signature() -> None:
    prompt = 'Think between <think> and </think>.\n```python\ndef add(a, b):\n    """Sum."""\n```\nUse </think> once.'
    assert function("```python\n    return a + b\n```", prompt) == 'def add(a, b):\n    """Sum."""\n    return a + b\n'
