"""Checks a Lean 4 proof through the REPL of leanprover-community: JSON commands and answers, a blank line between.

    header ─► an environment, made once a process and used again by every proof (environments never change)
    header ─► Gold‹w›.t, the statement alone, admitted ─► the response's text: no error, no `sorry`
    a fresh process does it again ─► theorem checked‹w› : (type of @Gold‹w›.t) := @t ─► #print axioms checked‹w›

`‹w›` is a word drawn for this check. The kernel compares the type of the response's theorem with that of the statement
as it was read before the response; nothing is inferred, and the axioms are those of the theorem so checked.

The process is confined (landlock, seccomp, no privileges; it can read Lean, the project and the system's libraries, and
write, connect to or start nothing), limited in memory, CPU and wall time, and replaced when it dies. Commands that run
code while a proof is read (`#eval`, `run_cmd`, `initialize`, macros, syntax, elaborators, `Lean`'s own namespace) are
refused before Lean sees them all the same, as are options that skip the kernel.

Tested with a written dialogue, and in the jail with a program that speaks the protocol. No Lean could be had where this
was written (neither Debian nor PyPI has one): the comparison of types was never run by a real one. Where Lean is
installed, the tests run it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Any

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.proofs.lean_install import NoLean, find
from berry.verifiers.proofs.lean_repl import LeanRepl, ReplDied, Transport, open_process
from berry.verifiers.specs.union import FormalSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from berry.verifiers.context import CheckRequest, ReplPool, VerifierContext

STANDARD_AXIOMS = ("propext", "Classical.choice", "Quot.sound")
_REFUSED = re.compile(
    r"\b(?:sorry|sorryAx|admit|axiom|constant|opaque|unsafe|partial|implemented_by|extern|csimp|initialize|builtin_initialize"
    r"|macro|macro_rules|syntax|elab|elab_rules|notation3?|binder_predicate|d?simproc(?:_decl)?|infixl?|infixr|prefix|postfix"
    r"|declare_syntax_cat|run_cmd|run_tac|run_elab|run_meta|by_elab|native_decide|ofReduceBool|reduceBool|skipKernelTC|byAsSorry|import|set_option\s+(?:debug|compiler)\S*)\b"
    r"|#(?:eval|exit|print|reduce|synth)|\beval%|_elab\b|\bbuiltin_\w+|\bLean\b|\b(?:Command|Term|Tactic)ElabM\b|\bMetaM\b"
    r"|(?:@\[|\battribute\s*\[)(?!\s*(?:local\s+|scoped\s+|-\s*)?(?:simp|ext|reducible|inline|norm_num|aesop|symm|refl|trans"
    r"|gcongr|elab_as_elim|to_additive|instance)\b)|\br#*\""
)
_AXIOMS = re.compile(r"depends on axioms: \[([^\]]*)\]")
_SORRY = re.compile(r"declaration uses\s+\W?sorry")
_LITERAL = re.compile(r"\"(?:[^\"\\]|\\.)*\"|(?<![A-Za-z0-9_'])'(?:[^'\\]|\\(?:x..|u.{4}|.))'|«[^»\n]*»", re.DOTALL)
"""Strings, characters and names in quotes, in none of which a comment begins."""
_NONE = re.compile(r"does not depend on any axioms")


async def check(spec: FormalSpec, name: str, proof: str, request: CheckRequest, context: VerifierContext) -> Verdict:  # noqa: ARG001
    """Checks a proof with Lean's REPL; unverifiable where Lean is not installed."""
    config = context.config
    try:
        home = await find(config.lean_repl, config.lean_project)
    except NoLean as fault:
        return verdict(Reason.MISSING_TOOL, note=str(fault))
    cpu_s, memory_mb = spec.cpu_s or config.proof_cpu_s, spec.memory_mb or config.proof_memory_mb

    async def fresh() -> Transport:
        return await open_process(home, cpu_s=cpu_s, memory_mb=memory_mb, isolation=config.isolation)

    return await prove(spec, name, proof, fresh, context.repls, wall_s=3 * cpu_s)


async def prove(
    spec: FormalSpec,
    name: str,
    proof: str,
    fresh: Callable[[], Awaitable[Transport]],
    repls: ReplPool,
    *,
    wall_s: float,
) -> Verdict:
    """The verdict on one proof: in a warm REPL, and if it stands there, again in a process that `fresh` opens."""
    text = without_comments(proof)
    if text is None:
        return verdict(Reason.UNPARSABLE_ANSWER, note="a comment or string that never ends")
    if (refused := _REFUSED.search(text)) is not None:
        return verdict(Reason.DISALLOWED, note=f"uses {refused[0]!r}")
    source = assemble(spec, name, proof, text)
    if source is None:
        return verdict(Reason.WRONG_ANSWER, note=f"states another {name} than the problem's")
    word = secrets.token_hex(8)
    try:
        async with asyncio.timeout(wall_s), repls.lend(fresh) as repl:
            first = await _attempt(spec, source, name, repl, word, compare=False)
        if isinstance(first, Verdict):
            return first
        repl = LeanRepl(await fresh())
        try:
            async with asyncio.timeout(wall_s):
                again = await _attempt(spec, source, name, repl, word, compare=True)
        finally:
            await repl.close()
    except TimeoutError:
        return verdict(Reason.WALL_LIMIT, note=f"over {wall_s} s")
    except ReplDied as fault:
        return verdict(fault.reason, note=str(fault))
    if isinstance(again, Verdict):
        if again.reason is Reason.WRONG_ANSWER:
            return again
        return verdict(Reason.SANDBOX_FAULT, note=f"the fresh re-check disagrees: {again.reason}")
    allowed = set(STANDARD_AXIOMS if spec.axioms is None else spec.axioms)
    used = axioms(again)
    if used is None:
        return verdict(Reason.SANDBOX_FAULT, note="the re-check printed no list of axioms")
    if extra := sorted(used - allowed):
        return verdict(Reason.DISALLOWED, note=f"rests on {', '.join(extra)}")
    return verdict(Reason.CORRECT, axioms=", ".join(sorted(used)) or "none")


async def _attempt(
    spec: FormalSpec, source: str, name: str, repl: LeanRepl, word: str, *, compare: bool
) -> Verdict | list[dict[str, Any]]:
    """One pass: the verdict that ends it, or, where types are compared, what is printed of the axioms."""
    start = await repl.header(spec.header)
    if errors := _errors(start):
        return verdict(Reason.GOLD_UNPARSABLE, note=errors[0])
    gold = await repl.command(stated(spec, word), env=start.get("env"))
    if errors := _errors(gold):
        return verdict(Reason.GOLD_UNPARSABLE, note=errors[0])
    answer = await repl.command(source, env=gold.get("env"))
    if errors := _errors(answer):
        return verdict(Reason.COMPILE_ERROR, note=errors[0])
    if answer.get("sorries") or any(_SORRY.search(str(m.get("data", ""))) for m in answer.get("messages", [])):
        return verdict(Reason.DISALLOWED, note="uses sorry")
    if not compare:
        return []
    same = await repl.command(f"theorem checked{word} : type_of% @Gold{word}.{name} := @{name}", env=answer.get("env"))
    if errors := _errors(same):
        return verdict(Reason.WRONG_ANSWER, note=f"proves something else: {errors[0]}".replace(word, ""))
    printed = await repl.command(f"#print axioms checked{word}", env=same.get("env"))
    return [*printed.get("messages", []), *({"data": e, "severity": "error"} for e in _errors(printed))]


def stated(spec: FormalSpec, word: str) -> str:
    """The command that states the problem's theorem, admitted, in a namespace of its own."""
    return f"namespace Gold{word}\n{spec.statement} := by sorry\nend Gold{word}"


def _errors(answer: dict[str, Any]) -> list[str]:
    """What the REPL calls an error; a `message` field instead of an environment is one too."""
    found = [str(m.get("data", "")) for m in answer.get("messages", []) if m.get("severity") == "error"]
    if "env" not in answer and "message" in answer:
        found.append(str(answer["message"]))
    return found


def axioms(messages: list[dict[str, Any]]) -> set[str] | None:
    """The axioms that `#print axioms` lists; None where it said nothing of them."""
    for message in messages:
        data = str(message.get("data", ""))
        if message.get("severity") == "error":
            return None
        if _NONE.search(data):
            return set()
        if (listed := _AXIOMS.search(data)) is not None:
            return {name.strip() for name in listed[1].split(",") if name.strip()}
    return None


def assemble(spec: FormalSpec, name: str, proof: str, text: str) -> str | None:
    """The command for statement and proof; None where the response states something else under that name."""
    statement = " ".join(spec.statement.split())
    if re.search(rf"\b(?:theorem|lemma|def|abbrev|instance)\s+{re.escape(name)}(?![\w'.])", text) is None:
        body = proof.strip()
        return f"{spec.statement} {body if body.startswith(':=') else ':= ' + _as_term(body)}"
    squeezed = " ".join(text.split())
    return proof if squeezed.count(f"{statement} :=") == 1 else None


def _as_term(body: str) -> str:
    if body == "by" or body.startswith(("by ", "by\n")):
        return body
    return "by\n" + "\n".join(f"  {line}" for line in body.splitlines())


def without_comments(source: str) -> str | None:
    """`source` with a space for each (nested) comment; None where a comment or string never ends, or where it depends
    on Lean's version whether a name goes on (`x₁'-'`) or a character begins.

    Strings and quoted names stay, so that nothing hides in one, and comments do not begin in them.
    """
    out: list[str] = []
    depth = position = 0
    while position < len(source):
        if depth:
            step = 2 if source.startswith(("/-", "-/"), position) else 1
            depth += (source.startswith("/-", position)) - (source.startswith("-/", position))
            position += step
        elif source.startswith("/-", position):
            depth, position = 1, position + 2
            out.append(" ")
        elif source.startswith("--", position):
            end = source.find("\n", position)
            position = len(source) if end < 0 else end
        elif (literal := _LITERAL.match(source, position)) is not None:
            before = source[position - 1 : position]
            if literal[0][0] == "'" and (not before.isascii() or before in ("!", "?")):
                return None
            out.append(literal[0])
            position = literal.end()
        elif source[position] in '"«':
            return None
        else:
            out.append(source[position])
            position += 1
    return None if depth else "".join(out)
