"""Runs in the confined worker: the structured comparison again, with sympy for its leaves.

Preloaded as a sandbox profile, so that a worker is warm from its first question. Plain data in and out.
"""

from __future__ import annotations

import time
from typing import Any

from berry.verifiers.base import Reason
from berry.verifiers.maths import sympy_leaf
from berry.verifiers.maths.answers import values
from berry.verifiers.maths.compare import Comparison
from berry.verifiers.maths.expressions import normal
from berry.verifiers.maths.ladder import structured
from berry.verifiers.specs.base import Strictness


def decide(gold: str, response: str, strict: dict[str, Any]) -> dict[str, Any]:
    """{"same": bool | None, "reason": str, "note": str | None, "cpu_s": float} for two answers that the cheap rungs
    left open; `cpu_s` is the CPU time of the question."""
    began = time.process_time()
    return {**_decide(gold, response, strict), "cpu_s": time.process_time() - began}


def _decide(gold: str, response: str, strict: dict[str, Any]) -> dict[str, Any]:
    rules = Strictness(**strict)
    if rules.decimal_mark == "comma":
        gold, response = normal.point_decimals(gold), normal.point_decimals(response)
    gold, response = normal.unbracketed(gold), normal.unbracketed(response)
    comparison = Comparison(rules, sympy_leaf.equal, sympy_leaf.puzzle)
    try:
        decision = structured(values.read(gold), values.read(response), comparison)
    except sympy_leaf.GoldUnreadable as fault:
        return {"same": None, "reason": str(Reason.GOLD_UNPARSABLE), "note": f"can't be parsed: {fault}"[:200]}
    except sympy_leaf.AnswerUnreadable as fault:
        return {"same": False, "reason": str(Reason.UNPARSABLE_ANSWER), "note": f"can't be parsed: {fault}"[:200]}
    except (ArithmeticError, ValueError, TypeError, AttributeError, NotImplementedError) as fault:
        # sympy raises these on mathematics that it can't do: nothing is known about the answer
        note = f"sympy: {type(fault).__name__}: {fault}"[:200]
        return {"same": None, "reason": str(Reason.NOT_CHECKED), "note": note}
    if decision.same is None and decision.reason is not Reason.GOLD_UNPARSABLE:
        return {"same": False, "reason": str(Reason.WRONG_ANSWER), "note": "not shown to be equal"}
    return {"same": decision.same, "reason": str(decision.reason), "note": decision.note}
