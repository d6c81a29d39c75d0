"""Reads Coq's vernacular far enough to know every command that a proof contains, and refuses those that could reach
beyond it: that assume something, write files, load code, or change what other files mean.

    source ─► without comments and strings ─► sentences ─► the command each begins with ─► allowed, or why not

What is not on the list of commands is refused. A sentence that begins with a small letter is a tactic. The split is at
least as fine as Coq's own (which asks for white space after a full stop), so no command goes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

STRING = '""'

_COMMANDS = frozenset(
    (  # noqa: SIM905 - a list of seventy words, one a line, hides them
        "Theorem Lemma Fact Remark Corollary Proposition Property Example Definition Let Goal Proof Qed Defined "
        "Save Abort Fixpoint CoFixpoint Function Equations Inductive CoInductive Variant Record Structure Class "
        "Instance Scheme Combined Functional Section Module End Include Import Export Require From Open Close "
        "Bind Delimit Undelimit Declare Reserved Notation Infix Ltac Tactic Hint Create Remove Arguments Implicit "
        "Generalizable Existing Canonical Coercion Identity Opaque Transparent Strategy Add Next Solve Obligation "
        "Obligations Set Unset Check Print About Search SearchPattern SearchRewrite Locate Compute Eval Show "
        "Guarded Focus Unfocus Time Succeed Fail "
    ).split()
)
_PREFIXED = frozenset({"Time", "Succeed", "Fail"})  # another command follows
_MODIFIERS = frozenset({"Local", "Program", "Polymorphic", "Monomorphic", "Cumulative", "NonCumulative"})
_SECOND = {  # where a command is harmless in some of its forms alone
    "Add": frozenset({"Ring", "Field", "Parametric", "Morphism", "Relation", "Setoid"}),
    "Declare": frozenset({"Scope", "Custom", "Reduction"}),
    "Solve": frozenset({"Obligations", "All"}),
    "Combined": frozenset({"Scheme"}),
    "Functional": frozenset({"Scheme", "Case"}),
    "Undelimit": frozenset(),
}
_OPTIONS = re.compile(
    r"(?:Implicit Arguments|Strict Implicit|Contextual Implicit|Strongly Strict Implicit|Maximal Implicit Insertion"
    r"|Reversible Pattern Implicit|Asymmetric Patterns|Bullet Behavior|Universe Polymorphism|Primitive Projections"
    r"|Keyed Unification|Default Goal Selector|Default Proof Using|Regular Subst Tactic|Warnings|Silent"
    r"|Equations Transparent|Program Mode|Apply With Renaming|Mangle Names|Intuition Negation Unfolding)\b"
)
_TACTICS = re.compile(r"\b(?:admit|give_up|native_compute|native_cast_no_check|bypass_check|type_in_type)\b")
_LEAD = re.compile(r"\s*(?:[-+*{}]|(?:[\d,\s-]+|all|par|!|\[\s*\w+\s*\])\s*:(?!=))")
_ATTRIBUTES = re.compile(r"\s*#\[\s*(?:local|export|program|refine|universes\(polymorphic\))\s*\]")
_WORD = re.compile(r"\s*([A-Za-z_][\w']*)")
_FULL_STOP = re.compile(r"\.(?![A-Za-z_])")


def refused(text: str) -> str | None:
    """What `text`, which has no comments, may not say, in words; None where it says nothing of the kind."""
    for sentence in sentences(text):
        if (why := _refused(sentence)) is not None:
            return why
    return None


def sentences(text: str) -> Iterator[str]:
    """The sentences of `text`, which has no comments, without their full stops."""
    for sentence in _FULL_STOP.split(text):
        if sentence.strip():
            yield sentence


def without_comments(source: str) -> str | None:
    """`source` with a space for each (nested) comment and `""` for each string; None where one never ends."""
    out: list[str] = []
    depth = position = 0
    while position < len(source):
        if source.startswith("(*", position):
            depth += 1
            position += 2
        elif depth and source.startswith("*)", position):
            depth -= 1
            position += 2
            if not depth:
                out.append(" ")
        elif source[position] == '"':
            end = source.find('"', position + 1)
            if end < 0:
                return None
            if not depth:
                out.append(STRING)
            position = end + 1
        else:
            if not depth:
                out.append(source[position])
            position += 1
    return None if depth else "".join(out)


def _refused(sentence: str) -> str | None:
    if (found := _TACTICS.search(sentence)) is not None:
        return f"uses {found[0]!r}"
    rest = sentence
    while (lead := _LEAD.match(rest)) is not None:
        rest = rest[lead.end() :]
    while (attribute := _ATTRIBUTES.match(rest)) is not None:
        rest = rest[attribute.end() :]
    if rest.lstrip().startswith("#"):
        return f"uses the attributes {rest.strip()[:60]!r}"
    word, rest = _next(rest)
    while word in _MODIFIERS or word in _PREFIXED:
        word, rest = _next(rest)
    if not word[:1].isupper():
        return None
    if word not in _COMMANDS:
        return f"uses the command {word!r}"
    second, _ = _next(rest)
    if word in _SECOND and second not in _SECOND[word]:
        return f"uses the command '{word} {second}'"
    if second == "Obligations" and word != "Solve":
        return f"uses the command '{word} {second}'"
    if word in ("Set", "Unset") and _OPTIONS.match(" ".join(rest.split())) is None:
        return f"uses the option {' '.join(rest.split())[:60]!r}"
    if word == "Print" and (STRING in sentence or second in ("Universes", "Sorted", "Graph", "Graphs")):
        return f"uses the command '{word} {second}'"
    if word == "Export" and second in ("Set", "Unset"):
        return f"uses the command '{word} {second}'"
    if word == "Require" and second == "Extraction":
        return "uses the library Extraction"
    return None


def _next(text: str) -> tuple[str, str]:
    """The word that `text` begins with, and what follows it; "" where it begins with something else."""
    match = _WORD.match(text)
    return ("", text) if match is None else (match[1], text[match.end() :])
