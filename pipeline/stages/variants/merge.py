"""Writes the two files of all attempts: problems for `berry run`, and every refusal with its reason.

originals, attempts ─► duplicates ─► OUT.jsonl (each original, then its variants)
                                 └─► OUT.refused.jsonl
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from berry.pipeline.config.sections.variants import Variants
from berry.pipeline.core.seeds import digest
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.decontamination import Decontamination
from berry.pipeline.stages.variants import dedup
from berry.pipeline.stages.variants.attempts import Attempt, Refusal
from berry.pipeline.storage.files import Location


@dataclass(slots=True)
class Summary:
    """What came of it, by kind."""

    originals: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind, reason)
    near_evaluation: list[str] = field(default_factory=list)  # ids of originals that overlap with an evaluation set


def merge(
    originals: Sequence[Problem],
    attempts: Mapping[str, Sequence[Attempt]],
    variants: Variants,
    decontamination: Decontamination,
) -> tuple[list[Problem], list[Attempt], Summary]:
    """(problems, refusals, summary), in the order of the originals."""
    summary = Summary(originals=len(originals))
    flat = [attempt for problem in originals for attempt in attempts.get(problem.id, ())]
    passed = [(i, a.variant) for i, a in enumerate(flat) if a.refusal is None and a.variant is not None]
    before, new = [p.text for p in originals], [v.text for _, v in passed]
    repeated = dedup.find(before, new, variants.duplicates)
    named = [*(p.id for p in originals), *(v.id for _, v in passed)]
    for at, (reason, of) in repeated.items():
        flat[passed[at][0]] = flat[passed[at][0]].refused(reason, f"of {named[of]}")
    near = {p.id: found for p in originals if (found := decontamination.near(p.text)) is not None}
    summary.near_evaluation = list(near)
    taken = {p.id for p in originals}
    families: dict[str, list[Problem]] = {}
    refusals: list[Attempt] = []
    for attempt in flat:
        if attempt.refusal is None and attempt.variant is not None:
            families.setdefault(attempt.original, []).append(_unique(attempt.variant, taken))
            summary.kept[attempt.kind] += 1
        else:
            refusals.append(attempt)
    problems: list[Problem] = []
    for original in originals:
        if original.id in near and variants.screen.drop_originals:
            told = Attempt(original.id, "original", variant=original, text=original.text)
            refusals.append(told.refused(Refusal.EVALUATION_OVERLAP, str(near[original.id])))
        else:
            problems.append(original)
        problems.extend(families.get(original.id, ()))
    summary.refused = Counter((a.kind, str(a.refusal)) for a in refusals)
    return problems, refusals, summary


def _unique(problem: Problem, taken: set[str]) -> Problem:
    """The problem under an id that no other has."""
    if problem.id in taken:
        problem = problem.model_copy(update={"id": f"{problem.id[:200]}-{digest('id', problem.id, len(taken)).hex()}"})
    taken.add(problem.id)
    return problem


def write(location: Location, name: str, problems: Sequence[Problem], refusals: Sequence[Attempt]) -> None:
    """The refusals first: OUT itself is what says that all is there."""
    refused = (_renamed(attempt) for attempt in refusals)
    location.put(refused_name(name), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in refused).encode())
    location.put(name, "".join(problem.model_dump_json() + "\n" for problem in problems).encode())


def _renamed(attempt: Attempt) -> dict[str, object]:
    row = attempt.row()
    return {"variant_of": row.pop("original"), **row}


def refused_name(name: str) -> str:
    """Name of the file beside OUT.jsonl that holds what was refused."""
    return f"{name.removesuffix('.jsonl')}.refused.jsonl"
