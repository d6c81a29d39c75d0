"""Has a proof assistant, Lean 4 or Coq, check the response's proof (`formal`).

    statement (given) + proof (from the model) ─► must compile ─► must prove exactly that statement ─► must use no
    axiom beyond the allowed ones, as told by a fresh process that has seen nothing of the response's text

The response gives the proof alone, or the statement with its proof and any lemmas before it. Words that could bend
the check (new axioms, notations and syntax, options that skip the kernel, commands that run code) are refused first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.specs.union import FormalSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

MAX_PROOF_CHARS = 60_000
_NAME = {
    "coq": re.compile(r"^\s*(?:Theorem|Lemma|Example|Fact|Corollary|Proposition|Remark)\s+([A-Za-z_][\w']*)"),
    "lean": re.compile(r"^\s*(?:theorem|lemma|example)\s+([A-Za-z_][\w'.]*)"),
}


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Has the proof assistant check the response's proof of the statement."""
    spec = request.spec
    assert isinstance(spec, FormalSpec)
    if (problem := fault(spec)) is not None:
        return verdict(Reason.GOLD_UNPARSABLE, note=problem)
    proof = find_program(request.response, spec.system)
    if proof is None:
        return verdict(Reason.NO_CODE)
    if len(proof) > MAX_PROOF_CHARS:
        return verdict(Reason.ANSWER_TOO_LARGE, note=f"over {MAX_PROOF_CHARS} characters")
    if "\0" in proof:
        return verdict(Reason.UNPARSABLE_ANSWER, note="control characters")
    if spec.system == "coq":
        from berry.verifiers.proofs.coq import check
    else:
        from berry.verifiers.proofs.lean import check
    return await check(spec, statement_name(spec), proof, request, context)


def statement_name(spec: FormalSpec) -> str:
    """The theorem's name, as `statement` gives it."""
    match = _NAME[spec.system].match(spec.statement)
    assert match is not None  # `fault` has been asked
    return match[1]


def fault(spec: FormalSpec) -> str | None:
    """Why nothing can be proved against this statement; None when it can be tried."""
    if _NAME[spec.system].match(spec.statement) is None:
        return f"statement must begin with a named theorem, such as `theorem name …`, got {spec.statement[:40]!r}"
    if spec.system == "coq" and not spec.statement.rstrip().endswith("."):
        return "a Coq statement ends with a full stop"
    if spec.system == "lean" and re.search(r":=", spec.statement):
        return "a Lean statement stops before `:=`"
    return None
