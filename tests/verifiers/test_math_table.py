"""The published table of examples, under the presets `strict` and `lenient` and under single settings.

A row's `response` is an answer, or, where `whole` is true, a response in which the answer is to be found. `reason`,
where a row has one, is strict's. Rows with `settings` state one `verdict` under those.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.maths import worker
from berry.verifiers.maths.ladder import Equivalence, decide, gold_fault
from berry.verifiers.specs.base import PRESETS, Strictness
from berry.verifiers.specs.union import MathSpec

TABLE = [json.loads(line) for line in (Path(__file__).parent / "math_cases.jsonl").read_text("utf-8").splitlines()]
# Kinds of fault that checkers of mathematics have in public reports: the table has each of them both ways.
KINDS = {
    "an equation and one of its sides": "equation-sides",
    "a value of another name, function or measure": "value of a name",
    "an answer between tags": "place tag",
    "one of several values": "several",
    "a formula in a condition": "condition",
    "a tuple and a number with thousands set apart": "tuple or number",
    "ordered lists in another order": "order",
    "signs of a currency": "money",
    "an empty or bare box in a plan": "box in a plan",
    "an answer line after a box": "later line",
    "clauses around the answer": "clauses",
    "display mathematics over several lines": "display",
    "sentences": "sentence",
    "the last line": "place last line",
    "inequalities, intervals and membership": "intervals",
    "named tuples": "named",
    "several boxes": "place box",
    "matrices, their sums and products": "matrix",
    "chains of equalities": "chain",
    "thousands separators": "thousands",
    "percent": "percent",
    "units": "units",
    "rounded decimals": "rounded",
    "doubled and trailing backslashes": "backslash",
    "text units inside boxes": "text unit in box",
    "real expressions where they are real": "real-domain",
    "integers, which no tolerance applies to": "integer",
}
ANSWERS = [row for row in TABLE if "settings" not in row and "whole" not in row]


def ladder(gold: str, response: str, strict: Strictness) -> Equivalence:
    """The whole ladder with the symbolic rung in this process."""
    if (fault := gold_fault(gold)) is not None:
        return Equivalence(None, "gold", Reason.GOLD_UNPARSABLE, fault)
    decision = decide(gold, response, strict)
    if decision.same is not None or decision.reason is Reason.GOLD_UNPARSABLE:
        return decision
    answer = worker.decide(gold, response, strict.model_dump())
    return Equivalence(answer["same"], "symbolic", Reason(answer["reason"]), answer["note"])


@pytest.mark.parametrize("family", sorted({row["family"] for row in ANSWERS}))
def test_every_answer_of_the_table_has_the_verdict_it_states(family: str) -> None:
    differences = []
    for row in (row for row in ANSWERS if row["family"] == family):
        for name, strict in PRESETS.items():
            decision = ladder(row["gold"], row["response"], strict)
            named = row.get("reason", decision.reason) if name == "strict" else decision.reason
            if decision.reason.outcome != row[name] or named != decision.reason:
                differences.append((row["gold"], row["response"], name, row[name], str(decision.reason)))
    assert not differences


@pytest.mark.parametrize("preset", PRESETS)
def test_every_response_of_the_table_has_the_verdict_it_states(check_all, preset: str) -> None:
    rows = [row for row in TABLE if row.get("whole")]
    verdicts = check_all([(MathSpec(answer=row["gold"], strictness=PRESETS[preset]), row["response"]) for row in rows])
    differences = [
        (row["gold"], row["response"], verdict.reason, verdict.answer)
        for row, verdict in zip(rows, verdicts, strict=True)
        if verdict.outcome != row[preset]
    ]
    assert not differences


def test_every_single_setting_has_the_verdict_it_states() -> None:
    rows = [row for row in TABLE if "settings" in row]
    verdicts = [ladder(row["gold"], row["response"], Strictness(**row["settings"])).reason.outcome for row in rows]
    assert [(row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if verdict != row["verdict"]] == []
    assert {setting for row in rows for setting in row["settings"]} >= set(Strictness.model_fields) - {"boxes"}


def test_the_table_is_as_large_and_as_mixed_as_promised() -> None:
    assert len(TABLE) >= 600
    keys = [(row["gold"], row["response"], str(row.get("settings")), row.get("whole")) for row in TABLE]
    assert len(set(keys)) == len(keys)
    for name in PRESETS:
        assert {row[name] for row in TABLE if name in row} == {str(outcome) for outcome in Outcome}
    assert sum(row["strict"] != row["lenient"] for row in TABLE if "strict" in row) >= 50
    for family in {row["family"] for row in TABLE} - {"gold", "nasty", "hedge"}:
        rows = [row for row in TABLE if row["family"] == family]
        assert len({row.get("strict", row.get("verdict")) for row in rows}) > 1, f"{family} has one verdict alone"


@pytest.mark.parametrize("family", KINDS.values(), ids=KINDS)
def test_every_kind_of_fault_is_in_the_table_both_ways(family: str) -> None:
    rows = [row for row in TABLE if row["family"] == family and "settings" not in row]
    for outcome in ("pass", "fail"):
        assert sum(outcome in (row["strict"], row["lenient"]) for row in rows) >= 4


def test_decimal_commas_are_in_the_table_both_ways() -> None:
    rows = [row for row in TABLE if row.get("settings") == {"decimal_mark": "comma"}]
    assert {row["verdict"] for row in rows} == {"pass", "fail"}


def test_most_of_the_table_is_decided_without_sympy() -> None:
    open_ = [
        row for row in ANSWERS if gold_fault(row["gold"]) is None and decide(row["gold"], row["response"]).same is None
    ]
    assert len(open_) < len(ANSWERS) / 8
