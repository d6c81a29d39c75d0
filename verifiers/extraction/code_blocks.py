"""Finds the program in a response: by its language and by what it defines, not by being last.

    response ─► after_thinking ─► blocks ─► in the wanted language ─► the last that defines the entry point ─► program
                                                                      └─ else the last, else the text without a fence

Sample output, shell commands, usage snippets and summaries behind a solution are passed over. A body without its
signature is joined with the signature that the prompt gives, and a method of a class is made callable by its name.
Every scan is linear in the response.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from msgspec import Struct

from berry.verifiers.extraction.extract import after_thinking

LABELS: dict[str, frozenset[str]] = {
    "python": frozenset({"python", "py", "python3", "py3", "pycon"}),
    "cpp": frozenset({"cpp", "c++", "cc", "cxx", "c", "h", "hpp"}),
    "javascript": frozenset({"javascript", "js", "node", "mjs", "cjs"}),
    "typescript": frozenset({"typescript", "ts"}),
    "java": frozenset({"java"}),
    "go": frozenset({"go", "golang"}),
    "rust": frozenset({"rust", "rs"}),
    "csharp": frozenset({"csharp", "cs", "c#"}),
    "php": frozenset({"php"}),
    "ruby": frozenset({"ruby", "rb"}),
    "r": frozenset({"r", "rscript"}),
    "shell": frozenset({"shell", "sh", "bash", "zsh"}),
    "lean": frozenset({"lean", "lean4"}),
    "coq": frozenset({"coq", "gallina", "rocq"}),
    "sql": frozenset({"sql", "sqlite", "duckdb", "postgresql", "mysql"}),
}
"""How fenced blocks of a language are labelled, in lower case."""
_OUTPUT_LABELS = {"text", "txt", "output", "console", "plaintext", "json", "markdown"}
_KNOWN_LABELS = frozenset().union(*LABELS.values()) | _OUTPUT_LABELS
MOST_BLOCKS = 64
MOST_PARSED = 20_000
"""Characters up to which text without a fence is looked through for where its program ends."""
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)
_CODE_LINE = re.compile(r"^(?:def |class |import |from \w[\w.]* import |async def |@\w)", re.MULTILINE)


class Block(Struct, frozen=True):
    """A fenced block: its text, and the label of its fence in lower case ("" where there is none)."""

    text: str
    label: str


def blocks(response: str) -> list[Block]:
    """The fenced blocks behind a response's thinking, as `fenced` finds them."""
    return fenced(after_thinking(response))


def fenced(text: str) -> list[Block]:
    """The fenced blocks of a text, in order; one that is never closed runs to the end.

    A labelled fence inside a block is a part of it (of a string, say), but where the Python before it is whole a
    closing fence was forgotten.
    """
    made: list[Block] = []
    opened: re.Match[str] | None = None
    tries = MOST_BLOCKS
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
            continue
        closes = fence[1].startswith(opened[1]) and not fence[2]
        forgotten = False
        if not closes and tries and fence[1] == opened[1] and fence.start() - opened.end() <= MOST_PARSED:
            tries -= 1
            forgotten = _forgotten(opened[2], text[opened.end() + 1 : fence.start()])
        if closes or forgotten:
            made.append(Block(text[opened.end() + 1 : fence.start()], opened[2].lower()))
            opened = None if closes else fence
    if opened is not None:
        made.append(Block(text[opened.end() + 1 :], opened[2].lower()))
    return [block for block in made if block.text.strip()][-MOST_BLOCKS:]


def find_program(
    response: str, language: str, *, entry_point: str | None = None, prompt: str = "", tests: str = ""
) -> str | None:
    """The program that a response answers with; None where it has none.

    `entry_point` is the Python function that is asked for, where one is; `prompt` is the task's text, for answers that
    go on where its code ends; `tests`, in other languages, are what names the function that is asked for. Without tests
    a language whose programs begin at `main` wants a block that has one.
    """
    found = blocks(response)
    labels = LABELS.get(language, frozenset({language}))
    wanted = [b.text for b in found if b.label in labels]
    unlabelled = [b.text for b in found if not b.label]
    if language != "python":
        answers = [t for group in (wanted, unlabelled) for t in reversed(group) if _answers(t, language, tests)]
        return (
            _last(answers[:1])
            or _last(wanted)
            or _last(unlabelled)
            or _last([b.text for b in found if not _other(b, labels)])
            or (None if found else _unless_empty(_unfenced(response)))
        )
    if entry_point is None:
        return (
            _last(wanted)
            or _last([t for t in unlabelled if _is_program(t)])
            or _last(unlabelled)
            or (None if found else _bare(_unfenced(response), None))
        )
    for group in (wanted, unlabelled):
        defining = [t for t in group if _defines(t, entry_point)]
        if defining:
            return _callable(defining[-1], entry_point)
    text = _last(wanted) or _last([t for t in unlabelled if _is_program(t)]) or _last(unlabelled)
    if text is None and not found:
        text = _bare(_unfenced(response), entry_point)
    if text is None:
        return None
    if not _defines(text, entry_point) and (signature := _signature(prompt, entry_point)) is not None:
        return _joined(signature, text)
    return _callable(text, entry_point)


def _forgotten(label: str, text: str) -> bool:
    return label.lower() in LABELS["python"] and bool(text.strip()) and _parses(text)


# ---- what a text defines --------------------------------------------------------------------------------------------


_DEFINITION = re.compile(
    r"\b(?:function\s*\*?|def|func(?:\s*\([^()\n]{0,200}\))?|fn|class|struct|interface|enum)\s+(?:self\.)?([A-Za-z_$][\w$]*)"
    r"|\b(?:const|let|var)\s+([A-Za-z_$][\w$]*)\s*(?::[^=\n]{1,200})?=\s*(?:async\s*)?(?:function\b|\(|[A-Za-z_$][\w$]*\s*=>)"
    r"|^[ \t]*`?([A-Za-z.][\w.]*)`?\s*(?:<-|=)\s*function\b"
    r"|^[ \t]*([A-Za-z_]\w*)\s*\(\)\s*\{"
    r"|^[ \t]*(?!return\b|new\b|else\b)(?:[\w:<>,.&*?\[\]]+[ \t]+){1,8}[*&]{0,2}([A-Za-z_]\w*)"  # C++, Java, C#
    r"\s*\([^;{}()]{0,400}\)[^;{}()\n]{0,80}\s*\{",
    re.MULTILINE,
)
_MAIN = {
    "cpp": re.compile(r"\bmain\s*\("),
    "java": re.compile(r"\bvoid\s+main\s*\("),
    "go": re.compile(r"^func\s+main\s*\(", re.MULTILINE),
    "rust": re.compile(r"\bfn\s+main\s*\("),
    "csharp": re.compile(r"\bMain\s*\("),
}


def _answers(text: str, language: str, tests: str) -> bool:
    """Whether a block, not in Python, defines what `tests` call; without tests, whether it is a program by itself."""
    if not tests:
        return language in _MAIN and _MAIN[language].search(text) is not None
    names = {name for match in _DEFINITION.finditer(text) for name in match.groups() if name}
    called = {*re.findall(r"[\w$]+", tests), *re.findall(r"[\w.]+", tests)}
    return bool(names & called - {"main", "Main", "test", "candidate"})


def _defines(text: str, name: str) -> bool:
    return _at_top(text, name) or _owner(text, name) is not None


def _at_top(text: str, name: str) -> bool:
    escaped = re.escape(name)
    top = rf"^(?:async[ \t]+)?def[ \t]+{escaped}\b|^{escaped}[ \t]*(?::[^=\n]+)?=(?!=)|^class[ \t]+{escaped}\b"
    return re.search(top, text, re.MULTILINE) is not None


def _owner(text: str, name: str) -> str | None:
    """The class at the top of `text` that has a method `name`, where no function of that name stands at the top."""
    owner = None
    method = rf"^class[ \t]+(\w+)|^[ \t]+(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b"
    for line in re.finditer(method, text, re.MULTILINE):
        if line[1]:
            owner = line[1]
        elif owner is not None:
            return owner
    return None


def _callable(text: str, name: str) -> str:
    """`text` with a function `name` at its top, where it has it as a method of a class (as `class Solution`)."""
    if _at_top(text, name):
        return text
    owner = _owner(text, name)
    if owner is None:
        return text
    return f"{text.rstrip()}\n\n\ndef {name}(*args, **kwargs):\n    return {owner}().{name}(*args, **kwargs)\n"


def _signature(prompt: str, name: str) -> str | None:
    """The code of the prompt up to the function `name`, its docstring included; None where the prompt has none."""
    source = next((b.text for b in reversed(fenced(prompt)) if _defines(b.text, name)), None)
    if source is None and "```" not in prompt and _defines(prompt, name):
        source = prompt
    if source is None or _owner(source, name) is not None:
        return None
    return source.rstrip() + "\n"


def _joined(signature: str, body: str) -> str:
    """A body, indented if it is not, behind its signature; imports that the body begins with go to the top."""
    lines = body.strip("\n").split("\n")
    first = next((line for line in lines if line.strip()), "")
    if not first[:1].isspace():
        lines = [f"    {line}" if line.strip() else line for line in lines]
    return f"{signature}{chr(10).join(lines)}\n"


# ---- without fences -------------------------------------------------------------------------------------------------


def _unfenced(response: str) -> str:
    """The text behind the thinking without lines that are fences: one that stands alone opens nothing."""
    return _FENCE.sub("", after_thinking(response))


def _is_program(text: str) -> bool:
    """Whether text is Python that does something: output, numbers and words alone are none."""
    if len(text) > MOST_PARSED:
        return True
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(s, ast.Expr) or isinstance(s.value, ast.Call) for s in body)


def _bare(text: str, name: str | None) -> str | None:
    """The program in a text without a fence: all of it where it is Python, else from the first line of code to the
    last line with which it still is."""
    if not text.strip():
        return None
    if len(text) > MOST_PARSED or _parses(text):
        return text
    start = _CODE_LINE.search(text)
    if start is None:
        return text
    lines = text[start.start() :].split("\n")
    ends = [i for i in range(len(lines), 0, -1) if i == len(lines) or (lines[i] and not lines[i][:1].isspace())]
    for end in ends[:MOST_BLOCKS]:
        candidate = "\n".join(lines[:end]).rstrip() + "\n"
        if _parses(candidate) and (name is None or _defines(candidate, name)):
            return candidate
    return text


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _other(block: Block, labels: frozenset[str]) -> bool:
    """Whether a block's label is another language's, or one of output."""
    return block.label in _KNOWN_LABELS and block.label not in labels


def _last(texts: Sequence[str]) -> str | None:
    return texts[-1] if texts else None


def _unless_empty(text: str) -> str | None:
    return text if text.strip() else None
