r"""Finds in a program what takes a problem's comparisons over, where the tests share its process (`program_tests`).

    program ─► strings and comments cut ─► definitions of comparisons, of library names that the tests use ─► found

C++, Rust, C#, Ruby and Java let a program say what `==` means, or `equals`, and give a name of the library another
meaning. Honest programs that define comparisons for their own keys are refused too: the tests can't tell them apart.
Every search is linear in the program's length.
"""

from __future__ import annotations

import re

_ENDS = r"//[^\n]*|/\*.*?(?:\*/|\Z)"
_LINE = r"\"(?:\\.|[^\"\\\n])*\"?|'(?:\\[^\n][^'\n]{0,9}|[^'\\\n])'"
_CUT = {
    "cpp": rf'R"([^()\\\s"]{{0,16}})\((?:.*?\)\1"|.*\Z)|{_ENDS}|{_LINE}',
    "rust": rf'\br(#*)"(?:.*?"\1|.*\Z)|{_ENDS}|{_LINE}',
    "csharp": rf'\$?@\$?"(?:""|[^"])*"?|{_ENDS}|{_LINE}',
    "java": rf'"""(?:\\.|[^\\])*?(?:"""|\Z)|{_ENDS}|{_LINE}',
    "ruby": r"\\\n",
}
_STRINGS_AND_COMMENTS = {language: re.compile(pattern, re.DOTALL) for language, pattern in _CUT.items()}

_SYMBOL = r"[:\"'%\w\[({]{0,4}"
_WORDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "cpp": (
        (r"\boperator\s*(?:==|!=|<=>|!|&&|\|\||not_eq\b|not\b|and\b|or\b)",),
        (r"\b__assert",),
        (r"\bbool\s+std\s*::",),
    ),
    "rust": (
        (r"\bimpl\b", r"\bPartialEq\b", r"\bfor\b"),
        (r"\bimpl\b", r"\$\w", r"\bfor\b"),
        (r"\bPartialEq\s+as\b",),
    ),
    "csharp": ((r"\boperator\s*(?:==|!=|true|false)",), (r"\bnamespace\s+(?:System|global)\b",)),
    "ruby": (
        (r"\bdef\s+(?:[\w:]+\.)?(?:==|!=|assert)",),
        (rf"\b(?:alias(?:_method)?|(?:un|remove_|instance_|singleton_)?def\w*|send)\b\s*[(,]?\s*{_SYMBOL}[=!]=",),
        (r"\bTest::Unit\b|\bTestCase\b|\bAssertions\b",),
    ),
}
"""By language: words that take comparisons over where they stand in this order between braces and semicolons."""
_SEQUENCES = {language: [[re.compile(w) for w in words] for words in rows] for language, rows in _WORDS.items()}

_COMPARISONS = {
    "java": (r"\.equals\s*\(", r"\bequals\s*\([^()]{0,200}\)\s*(?:throws\b|\{)"),
    "csharp": (r"\.(?:Sequence)?Equals?\s*\(",
               r"\b(?:Sequence)?Equals?\s*(?:<[^<>]{0,80}>)?\s*\([^()]{0,200}\)\s*(?:where\b|=>|\{)"),
}  # fmt: skip
"""By language: how tests compare by a method, and what defines that method."""

_LIBRARY = {
    "java": "java System ClassLoader Math Objects Optional Arrays Collections List ArrayList LinkedList Map HashMap "
    "TreeMap LinkedHashMap Set HashSet TreeSet LinkedHashSet Long Integer Double Float Boolean Character String Object",
    "csharp": "System Debug Math Array Enumerable Tuple List Dictionary HashSet String Object",
    "rust": "String Vec HashMap HashSet BTreeMap BTreeSet Option Some None Result Ok Err Box std",
}
_DECLARES = {
    "java": r"\b(?:class|interface|enum|record)\s+NAME\b"
    r"|(?<=[\w>\]])(?<!\binstanceof)(?<!\bimplements)(?<!\bextends)(?<!\bthrows)(?<!\breturn)\s+NAME\s*[=;,):]",
    "csharp": r"\b(?:class|struct|interface|enum|record|delegate)\s+NAME\b|\busing\s+NAME\s*=",
    "rust": r"\b(?:struct|enum|union|type|mod|trait|fn|const|static|as)\s+NAME\b",
}
_HARNESS = {"java": {"java", "System"}, "csharp": {"System"}, "rust": {"std"}}
_JAVA_ESCAPE = re.compile(r"\\u+([0-9a-fA-F]{4})")
_CPP_DEFINITION = re.compile(r"^[ \t]*(?:#|%:|\?\?=)[ \t]*define[ \t]+(\w+)([^\n]*)", re.MULTILINE)
_CPP_OPERATOR = re.compile(r"\boperator\s*(\w+)")


def without_strings(language: str, code: str) -> str:
    """The program with a space for each string and comment, and what continues a line or escapes a letter undone."""
    if language == "cpp":
        code = code.replace("\\\n", "")
    if language == "java":
        code = _JAVA_ESCAPE.sub(lambda m: chr(int(m[1], 16)), code)
    return _STRINGS_AND_COMMENTS[language].sub(" ", code)


def disallowed(language: str, code: str, tests: str = "") -> str | None:
    """What in a program takes the tests' comparisons over; None where nothing does."""
    if language not in _STRINGS_AND_COMMENTS:
        return None
    plain = without_strings(language, code)
    for part in re.split("[{;]", plain):
        for words in _SEQUENCES.get(language, ()):
            end, found = 0, True
            for word in words:
                match = word.search(part, end)
                found, end = found and match is not None, match.end() if match else end
            if found:
                return " ".join(part[:end].split())[-60:]
    if language in _COMPARISONS:
        used, defined = _COMPARISONS[language]
        if re.search(used, tests) and (match := re.search(defined, plain)):
            return " ".join(match[0].split())[:60]
    return _by_macros(plain) if language == "cpp" else _redeclared(language, plain, tests)


def _redeclared(language: str, plain: str, tests: str) -> str | None:
    """The declaration of a library name that the tests, or what is put around them, use."""
    used = {name for name in _LIBRARY.get(language, "").split() if re.search(rf"\b{name}\b", tests)}
    names = "|".join(sorted(used | _HARNESS.get(language, set())))
    match = re.search(_DECLARES[language].replace("NAME", f"(?:{names})"), plain) if names else None
    return " ".join(match[0].split()) if match else None


def _by_macros(plain: str) -> str | None:
    """An operator that C++ macros spell: `operator` in a definition, a macro behind it, or the word put together."""
    macros = {}
    for match in _CPP_DEFINITION.finditer(plain):
        macros[match[1]] = match[2]
        if re.search(r"\boperator\b", match[2]):
            return " ".join(match[0].split())[:60]
    for match in _CPP_OPERATOR.finditer(plain):
        if match[1] in macros:
            return " ".join(match[0].split())
    if any("##" in text or "%:%:" in text for text in macros.values()):
        pieces = set(re.findall(r"\b[operat]{1,7}\b", plain))
        if _spelled("operator", pieces):
            return "operator, in pieces"
    return None


def _spelled(word: str, pieces: set[str]) -> bool:
    """Whether the word is some pieces one behind another."""
    return not word or any(word.startswith(piece) and _spelled(word[len(piece) :], pieces) for piece in pieces)
