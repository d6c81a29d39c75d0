"""Coq: `coqc` in the jail, in four steps.

    Header.v  the problem's header                                    fails: the problem is broken
    Gold.v    the statement alone, admitted                           fails: the problem is broken
    Answer.v  header lines, then the response's lemmas and proof      fails: the response is wrong
    Check.v   Answer's theorem has the type of Gold's; Print Assumptions Answer's theorem

Check.v is compiled in a process that loads Answer but reads none of its text and imports none of its notations, so
what the response redefines can't change what is compared. Axioms it lists beyond the allowed ones are refused, and
so are `Admitted` proofs, which it lists as axioms. A shell script drives it; a drawn word marks the end of each step.
"""

from __future__ import annotations

import os
import re
import secrets
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from berry.sandboxes.base import MIB, Job, Limits, Outcome
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.sandbox_limits import reason_of
from berry.verifiers.specs.union import FormalSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

_REFUSED = re.compile(
    r"\b(Admitted|admit|Axioms?|Parameters?|Conjecture|Hypothes[ie]s|Variables?|Declare\s+ML|Load|Redirect|Extraction|Drop|Cd"
    r"|Unset\s+(?:Guard|Positivity|Universe)\s+Checking|bypass_check|Undelimit\s+Scope|Set\s+Printing|Separate|Recursive\s+Extraction"
    r"|Primitive|Register|Add\s+(?:Rec\s+)?(?:LoadPath|ML)|type_in_type)\b"
)
_CONTEXT = re.compile(
    r"^\s*(?:(?:From\s+\S+\s+)?Require|Import|Export|(?:Local\s+|Global\s+)?(?:Open|Close)\s+Scope|Generalizable"
    r"|(?:Local\s+|Global\s+)?(?:Set|Unset)\s)"
)
_STEPS = ("header", "gold", "answer", "check")


async def check(spec: FormalSpec, name: str, proof: str, request: CheckRequest, context: VerifierContext) -> Verdict:
    text = without_comments(proof)
    if text is None:
        return verdict(Reason.UNPARSABLE_ANSWER, note="a comment or string that never ends")
    if (refused := _REFUSED.search(text)) is not None:
        return verdict(Reason.DISALLOWED, note=f"uses {refused[0]!r}")
    word = secrets.token_hex(12)
    job = Job(
        source=script(files(spec, name, proof, text), word),
        language="shell",
        limits=_limits(spec, context),
        key=request.key or request.problem_id,
    )
    result = await context.pool.run(job)
    if not result.cases:
        return verdict(reason_of(result.outcome), note=result.error)
    case = result.cases[0]
    output = case.stdout.decode("utf-8", "replace")
    if f"{word} no coqc" in output:
        return verdict(Reason.MISSING_TOOL, note="coqc is not installed")
    reached = [step for step in _STEPS if f"{word} {step}\n" in output]
    if len(reached) < len(_STEPS):
        step = _STEPS[len(reached)]
        since = output.rpartition(f"{word} {reached[-1]}\n")[2] if reached else output
        said = since.strip() or case.error or ""
        reason = Reason.SANDBOX_FAULT if "Anomaly" in said and step != "answer" else _reason(step, case.outcome)
        return verdict(reason, step=step, note=said[-400:])
    printed = output.partition(f"{word} answer\n")[2].partition(f"{word} check\n")[0]
    allowed = set(spec.axioms or ())
    used = axioms(printed)
    extra = sorted(name for name in used if name not in allowed and name.rpartition(".")[2] not in allowed)
    if extra:
        return verdict(Reason.DISALLOWED, note=f"rests on {', '.join(extra)[:300]}")
    return verdict(Reason.CORRECT, axioms=", ".join(sorted(used)) or "none")


def _reason(step: str, outcome: Outcome) -> Reason:
    if outcome not in (Outcome.OK, Outcome.RUNTIME_ERROR):
        reason = reason_of(outcome)
        return reason if step == "answer" or reason.retryable else Reason.CHECK_TIMEOUT
    return {"answer": Reason.COMPILE_ERROR, "check": Reason.WRONG_ANSWER}.get(step, Reason.GOLD_UNPARSABLE)


def files(spec: FormalSpec, name: str, proof: str, text: str) -> dict[str, str]:
    """The four sources by step; `text` is the proof without comments."""
    context = "\n".join(line for line in spec.header.splitlines() if _CONTEXT.match(line))
    start = f"{context}\nRequire Import Header.\n"
    states = re.search(rf"\b(?:Theorem|Lemma|Example|Fact|Corollary|Proposition|Remark)\s+{re.escape(name)}\b", text)
    if states is None:
        body = proof.strip()
        opened = "" if re.match(r"\s*Proof\b", text) else "Proof.\n"
        closed = "" if re.search(r"\b(?:Qed|Defined)\s*\.\s*$", text) else "\nQed."
        answer = f"{spec.statement}\n{opened}{body}{closed}\n"
    else:
        answer = proof
    same = f"Definition checked := (Answer.{name} : ltac:(let T := type of Gold.{name} in exact T))."
    return {
        "header": spec.header + "\n",
        "answer": f"{start}{answer}\n",
        "gold": f"{start}{spec.statement}\nAdmitted.\n",
        "check": f"Require Header Answer Gold.\n{same}\nPrint Assumptions Answer.{name}.\n",
    }


def script(sources: dict[str, str], word: str) -> str:
    """A POSIX script that compiles the steps in order and stops at the first that fails."""
    lines = [f"command -v coqc >/dev/null 2>&1 || {{ echo '{word} no coqc'; exit 0; }}"]
    if (conf := _ocamlfind()) is not None:  # Coq wants it, and the jail has no /etc
        lines.append(f"cat > findlib.conf <<'{word}'\n{conf}\n{word}\nexport OCAMLFIND_CONF=$PWD/findlib.conf")
    for step in _STEPS:
        file = f"{step.capitalize()}.v"
        lines.append(f"cat > {file} <<'{word}'\n{sources[step]}\n{word}")
        lines.append(f"coqc -q -R . '' {file} 2>&1 || exit 0")
        lines.append(f"echo '{word} {step}'")
    return "\n".join(lines) + "\n"


@lru_cache
def _ocamlfind() -> str | None:
    try:
        return Path(os.environ.get("OCAMLFIND_CONF", "/etc/ocamlfind.conf")).read_text(encoding="utf-8")
    except OSError:
        return None


def axioms(printed: str) -> set[str]:
    """The names in what `Print Assumptions` printed; what isn't understood counts as one."""
    text = printed.strip()
    if text == "Closed under the global context":
        return set()
    found = set(re.findall(r"^([\w.']+)\s*(?::|is\s|relies\s|$)", text, re.MULTILINE)) - {
        "Axioms",
        "Opaque",
        "Transparent",
    }
    return found or {text[:200] or "nothing printed"}


def without_comments(source: str) -> str | None:
    """`source` without (nested) comments and strings; None where one never ends."""
    out: list[str] = []
    depth = position = 0
    while position < len(source):
        if source.startswith("(*", position):
            depth += 1
            position += 2
        elif depth and source.startswith("*)", position):
            depth -= 1
            position += 2
        elif source[position] == '"':
            end = source.find('"', position + 1)
            if end < 0:
                return None
            position = end + 1
        else:
            if not depth:
                out.append(source[position])
            position += 1
    return None if depth else "".join(out)


def _limits(spec: FormalSpec, context: VerifierContext) -> Limits:
    cpu_s = spec.cpu_s or context.config.proof_cpu_s
    memory = (spec.memory_mb or context.config.proof_memory_mb) * MIB
    return Limits(
        cpu_s=cpu_s, wall_s=3 * cpu_s, memory_bytes=memory, output_bytes=4 * MIB, disk_bytes=64 * MIB, files=256
    )
