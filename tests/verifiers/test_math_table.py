"""The published table of examples, under the three strictnesses `STRICT`, `DEFAULT` and `LENIENT`.

`reason`, where a row has one, is the default's.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.maths import worker
from berry.verifiers.maths.ladder import Decision, decide, gold_fault
from berry.verifiers.specs.base import DEFAULT, LENIENT, STRICT, Strictness

TABLE = [json.loads(line) for line in (Path(__file__).parent / "math_cases.jsonl").read_text("utf-8").splitlines()]
PRESETS = {"strict": STRICT, "default": DEFAULT, "lenient": LENIENT}


def ladder(gold: str, response: str, strict: Strictness) -> Decision:
    """The whole ladder with the symbolic rung in this process."""
    if (fault := gold_fault(gold)) is not None:
        return Decision(None, "gold", Reason.GOLD_UNPARSABLE, fault)
    decision = decide(gold, response, strict)
    if decision.same is not None or decision.reason is Reason.GOLD_UNPARSABLE:
        return decision
    answer = worker.decide(gold, response, strict.model_dump())
    return Decision(answer["same"], "symbolic", Reason(answer["reason"]), answer["note"])


@pytest.mark.parametrize("family", sorted({row["family"] for row in TABLE}))
def test_every_row_of_the_table_has_the_verdict_it_states(family: str) -> None:
    wrong = []
    for row in (row for row in TABLE if row["family"] == family):
        for name, strict in PRESETS.items():
            decision = ladder(row["gold"], row["response"], strict)
            named = row.get("reason", decision.reason) if name == "default" else decision.reason
            if decision.reason.outcome != row[name] or named != decision.reason:
                wrong.append((row["gold"], row["response"], name, row[name], str(decision.reason)))
    assert not wrong


def test_the_table_is_as_large_and_as_mixed_as_promised() -> None:
    assert len(TABLE) >= 300
    assert len({(row["gold"], row["response"]) for row in TABLE}) == len(TABLE)
    for name in PRESETS:
        assert {row[name] for row in TABLE} == {str(outcome) for outcome in Outcome}
    assert sum(row["strict"] != row["lenient"] for row in TABLE) >= 50


def test_most_of_the_table_is_decided_without_sympy() -> None:
    open_ = [
        row for row in TABLE if gold_fault(row["gold"]) is None and decide(row["gold"], row["response"]).same is None
    ]
    assert len(open_) < len(TABLE) / 8
