"""Checks a Coq proof with `coqc`, confined, in steps of one process each.

    Header.v    the problem's header                                  fails: the problem is broken
    Gold‹w›.v   the statement alone, admitted                         fails: the problem is broken
    Answer‹w›.v header lines, then the response's lemmas and proof    fails: the response is wrong
    Check.v     the response's theorem is given the type of Gold's, explicitly and by the kernel; Print Assumptions
    Names.v     the full names of the axioms that were printed
    coqchk      checks the compiled Answer and Check once more, where the host has it

`‹w›` is a word drawn for this check, and so is the mark that the script prints after each step. Check.v is compiled in
a process that loads Answer but reads none of its text and imports none of its notations, and nothing in it is inferred:
the theorem is taken as `@Answer.t`, so no implicit argument or class instance can be filled in, and the kernel compares
its type with Gold's. Axioms beyond the allowed ones are refused by full name, and so are `Admitted` proofs, which are
printed as axioms; none of the response's own module is ever allowed. The response may use only the commands that
`vernacular` lists.

The shell script that drives the steps is read whole before its first command runs, and the compiled files of the
problem must be the same after the response was compiled as before.
"""

from __future__ import annotations

import os
import re
import secrets
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from berry.sandboxes.base import MIB, Job, JobOutcome, Limits
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.proofs import vernacular
from berry.verifiers.sandbox_limits import reason_of
from berry.verifiers.specs.union import FormalSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

_CONTEXT = re.compile(
    r"^\s*(?:(?:From\s+\S+\s+)?Require|Import|Export|(?:Local\s+|Global\s+)?(?:Open|Close)\s+Scope|Generalizable"
    r"|(?:Local\s+|Global\s+)?(?:Set|Unset)\s)"
)
_STEPS = ("header", "gold", "answer", "same", "check", "names", "kernel")
_IDENTIFIER = re.compile(r"[A-Za-z_][\w'.]*")


async def check(spec: FormalSpec, name: str, proof: str, request: CheckRequest, context: VerifierContext) -> Verdict:
    """The verdict on one proof of the theorem `name`."""
    text = vernacular.without_comments(proof)
    if text is None:
        return verdict(Reason.UNPARSABLE_ANSWER, note="a comment or string that never ends")
    if (refused := vernacular.refused(text)) is not None:
        return verdict(Reason.DISALLOWED, note=refused)
    word, mark = secrets.token_hex(12), secrets.token_hex(12)
    job = Job(
        source=script(files(spec, name, proof, text, word), word, mark),
        language="shell",
        limits=_limits(spec, context),
        key=request.key or request.problem_id,
    )
    result = await context.pool.run(job)
    if not result.cases:
        return verdict(reason_of(result.outcome), note=result.error)
    case = result.cases[0]
    output = case.stdout.decode("utf-8", "replace")
    if f"{mark} no coqc" in output:
        return verdict(Reason.MISSING_TOOL, note="coqc is not installed")
    printed = _printed(output, mark)
    if len(printed) < len(_STEPS):
        step = _STEPS[len(printed)]
        end = output.rpartition(f"{mark} {_STEPS[len(printed) - 1]}\n")[2] if printed else output
        problem = end.strip() or case.error or ""
        return verdict(_reason(step, case.outcome, problem), step=step, note=problem.replace(word, "")[-400:])
    used = axioms(printed["check"], printed["names"])
    allowed = set(spec.axioms or ()) | _resolved(printed["gold"])
    extra = sorted(axiom for axiom in used if axiom not in allowed or f"Answer{word}." in axiom)
    if extra:
        return verdict(Reason.DISALLOWED, note=f"rests on {', '.join(extra).replace(word, '')[:300]}")
    return verdict(Reason.CORRECT, axioms=", ".join(sorted(used)) or "none")


def _printed(output: str, mark: str) -> dict[str, str]:
    """What each step printed, for as many steps as were completed; `mark` and its name end each."""
    printed: dict[str, str] = {}
    for step in _STEPS:
        before, end, output = output.partition(f"{mark} {step}\n")
        if not end:
            break
        printed[step] = before
    return printed


def _reason(step: str, outcome: JobOutcome, problem: str) -> Reason:
    """Why a check ended in `step`. Header and gold are the problem's; from there on the response says what there is to
    compute and to print, so that a limit, or an "Anomaly" in a message, is its own doing."""
    of_problem = step in ("header", "gold")
    if outcome not in (JobOutcome.OK, JobOutcome.RUNTIME_ERROR):
        reason = reason_of(outcome)
        return Reason.CHECK_TIMEOUT if of_problem and not reason.retryable else reason
    if of_problem:
        return Reason.SANDBOX_FAULT if "Anomaly" in problem else Reason.GOLD_UNPARSABLE
    return {"answer": Reason.COMPILE_ERROR, "check": Reason.WRONG_ANSWER}.get(step, Reason.DISALLOWED)


def files(spec: FormalSpec, name: str, proof: str, text: str, word: str) -> dict[str, str]:
    """The sources by file name without suffix, in the order of compiling; `text` is the proof without comments."""
    lines = "\n".join(line for line in spec.header.splitlines() if _CONTEXT.match(line))
    start = f"{lines}\nRequire Import Header.\n"
    states = re.search(rf"\b(?:Theorem|Lemma|Example|Fact|Corollary|Proposition|Remark)\s+{re.escape(name)}\b", text)
    if states is None:
        body = proof.strip()
        opened = "" if re.match(r"\s*Proof\b", text) else "Proof.\n"
        closed = "" if re.search(r"\b(?:Qed|Defined)\s*\.\s*$", text) else "\nQed."
        answer = f"{spec.statement}\n{opened}{body}{closed}\n"
    else:
        answer = proof
    located = "".join(f"Locate Term {axiom}.\n" for axiom in spec.axioms or () if _IDENTIFIER.fullmatch(axiom))
    typed = (
        f"Definition checked : ltac:(let T := type of (@Gold{word}.{name}) in exact T)\n"
        f"  := ltac:(exact_no_check (@Answer{word}.{name})).\n"
    )
    return {
        "Header": spec.header + "\n",
        f"Gold{word}": f"{start}{spec.statement}\nAdmitted.\n{located}",
        f"Answer{word}": f"{start}{answer}\n",
        "Check": f"Require Header Answer{word} Gold{word}.\n{typed}Print Assumptions checked.\n",
    }


def script(sources: dict[str, str], word: str, mark: str) -> str:
    """A POSIX script that compiles the steps in order and stops at the first that fails.

    All of it is one compound command, which a shell reads to its end before it runs any: nothing that is written to
    the script's file in between changes what is done.
    """
    lines = ["{", f"command -v coqc >/dev/null 2>&1 || {{ echo '{mark} no coqc'; exit 0; }}"]
    if (conf := _ocamlfind()) is not None:  # Coq wants it, and the jail has no /etc
        lines.append(f"cat > findlib.conf <<'{mark}'\n{conf}\n{mark}\nexport OCAMLFIND_CONF=$PWD/findlib.conf")
    compiled = [f"{name}.vo" for name in sources if name.startswith(("Header", "Gold"))]
    digests = f"$(sha256sum {' '.join(compiled)} {'findlib.conf' if conf is not None else ''})"
    steps = iter(_STEPS)
    for name, source in sources.items():
        lines.append(f"cat > {name}.v <<'{mark}'\n{source}\n{mark}")
        if name == f"Answer{word}":
            lines.append(f'before="{digests}"')
        if name == "Check":
            lines.append(f'[ "{digests}" = "$before" ] || exit 0\necho "{mark} {next(steps)}"')
        lines.append(f"coqc -q -R . '' {name}.v > {name}.out 2>&1 || {{ cat {name}.out; exit 0; }}")
        lines.append(f"cat {name}.out\necho '{mark} {next(steps)}'")
    lines += [
        f"echo 'Require Header Answer{word} Gold{word} Check.' > Names.v",
        r"sed -n 's/^\([A-Za-z_][A-Za-z0-9_.]*\).*/Locate Term \1./p' Check.out >> Names.v",
        f"coqc -q -R . '' Names.v 2>&1\necho '{mark} {next(steps)}'",
        f"if command -v coqchk >/dev/null 2>&1; then coqchk -silent -norec Check -norec Answer{word} -R . '' 2>&1"
        f" || exit 0; fi\necho '{mark} {next(steps)}'",
        "exit 0",
        "}",
    ]
    return "\n".join(lines) + "\n"


@lru_cache
def _ocamlfind() -> str | None:
    try:
        return Path(os.environ.get("OCAMLFIND_CONF", "/etc/ocamlfind.conf")).read_text(encoding="utf-8")
    except OSError:
        return None


def axioms(printed: str, located: str = "") -> set[str]:
    """The axioms in what `Print Assumptions` printed, by full name where `located` (of `Locate Term`) gives it.

    What isn't understood counts as an axiom of its own.
    """
    text = printed.strip()
    if text == "Closed under the global context":
        return set()
    found = re.findall(r"^([\w.']+)\s*(?::|is\s|relies\s|$)", text, re.MULTILINE)
    short = [name for name in found if name not in ("Axioms", "Opaque", "Transparent")]
    full = _resolved(located)
    return {_full_name(name, full) for name in short} or {text[:200] or "nothing printed"}


def _full_name(short: str, full: set[str]) -> str:
    """The one of `full` that `short` is the end of; `short` itself where there is none, or several."""
    ends = [name for name in full if name == short or name.endswith(f".{short}")]
    return ends[0] if len(ends) == 1 else short


def _resolved(located: str) -> set[str]:
    """The full names that `Locate Term` printed for the names it was asked for, others that end alike left out."""
    blocks = re.findall(r"^Constant (\S+)((?:\n[ \t]+.*)*)", located, re.MULTILINE)
    return {name for name, notes in blocks if "shorter name" not in notes}


def _limits(spec: FormalSpec, context: VerifierContext) -> Limits:
    cpu_s = spec.cpu_s or context.config.proof_cpu_s
    memory = (spec.memory_mb or context.config.proof_memory_mb) * MIB
    return Limits(
        cpu_s=cpu_s, wall_s=3 * cpu_s, memory_bytes=memory, output_bytes=4 * MIB, disk_bytes=64 * MIB, files=256
    )
