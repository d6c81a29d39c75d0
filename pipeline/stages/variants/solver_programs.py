"""Has the engine write programs that solve the original of a `numbers` variant, and believes those that agree.

    replies ─► def solve(x1, x2, …) ─► sandbox: solve(old), solve(draw 1), solve(draw 2), … ─► f(old) = gold ─► Program

A program that gives one result for all numbers, or that writes an old number down where it should use its argument, has
the answer and not the way to it: it is left out. One job runs a program on all draws.
"""

from __future__ import annotations

import ast
import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from berry.pipeline.core.events import Completion
from berry.pipeline.records import Message
from berry.pipeline.stages.variants.drafting import quoted
from berry.pipeline.stages.variants.number_slots import NumberSlot, as_argument
from berry.sandboxes.base import Call, Job, JobOutcome
from berry.verifiers.checker import Checker
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.sandbox_limits import limits_of
from berry.verifiers.specs.union import CodeSpec

ENTRY = "solve"
_CLOSE = 1e-9  # relative and absolute: results of float arithmetic that mean the same number
_LARGEST_DENOMINATOR = 10**6


@dataclass(frozen=True, slots=True)
class Program:
    """A program that solves the original; its result on each draw, None where it gave no number."""

    source: str
    results: tuple[Fraction | None, ...]


def messages_for(text: str, slots: Sequence[NumberSlot]) -> list[Message]:
    """The prompt that asks for a program which works out a problem's answer from its numbers."""
    names = [f"x{i}" for i in range(1, len(slots) + 1)]
    listed = "\n".join(f"{name} = {slot.value}" for name, slot in zip(names, slots, strict=True))
    content = (
        f"Here is a problem, between marks:\n{quoted(text)}\n\nIts numbers have these names:\n{listed}\n\n"
        f"Write a Python function solve({', '.join(names)}) that returns the problem's answer as a number, for any "
        "numbers: calculate with the arguments, and do not write their values into the code. "
        "Reply with the function in one code block."
    )
    return [{"role": "user", "content": content}]


async def solving(
    replies: Sequence[Completion],
    slots: Sequence[NumberSlot],
    gold: Fraction,
    draws: Sequence[Sequence[Decimal]],
    checker: Checker,
    *,
    key: str,
) -> list[Program]:
    """The programs among `replies` that solve the original, in the replies' order, equal ones each for itself: drawn
    apart from each other they are votes."""
    sources = [source for reply in replies if (source := find_program(reply.text, "python")) and usable(source, slots)]
    ran = await asyncio.gather(*(_run(source, slots, draws, checker, key) for source in sources))
    return [
        Program(source, tuple(results[1:]))
        for source, results in zip(sources, ran, strict=True)
        if results and same(results[0], gold) and len({r for r in results if r is not None}) > 1
    ]


async def _run(
    source: str, slots: Sequence[NumberSlot], draws: Sequence[Sequence[Decimal]], checker: Checker, key: str
) -> list[Fraction | None]:
    calls = [tuple(slot.argument for slot in slots), *(tuple(as_argument(v) for v in values) for values in draws)]
    job = Job(
        source=source,
        entry_point=ENTRY,
        calls=tuple(Call(args) for args in calls),
        limits=limits_of(CodeSpec(), checker.config),
        stop_on_error=False,
        key=key,
    )
    done = await checker.pool.run(job)
    return [number(case.value) if case.outcome is JobOutcome.OK else None for case in done.cases]


def number(value: Any) -> Fraction | None:
    """A program's result as a number: floats as the simplest fraction they can stand for; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | Fraction):
        return None
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return None
    exact = Fraction(value)
    simple = exact.limit_denominator(_LARGEST_DENOMINATOR)
    return simple if same(simple, exact) else exact


def same(a: Fraction | None, b: Fraction | None) -> bool:
    """Whether two answers are equal up to rounding; what is missing equals nothing."""
    if a is None or b is None:
        return False
    return abs(a - b) <= Fraction(_CLOSE) * max(1, abs(a), abs(b))


def agreed(programs: Sequence[Program], index: int) -> tuple[Fraction | None, int]:
    """The most frequent result on a draw and how many programs gave it; the simplest fraction speaks for its equals."""
    results = sorted(
        (r for p in programs if (r := p.results[index]) is not None), key=lambda r: (r.denominator, abs(r))
    )
    best: tuple[Fraction | None, int] = (None, 0)
    for result in results:
        votes = sum(same(result, other) for other in results)
        if votes > best[1]:
            best = (result, votes)
    return best


def usable(source: str, slots: Sequence[NumberSlot]) -> bool:
    """Whether it defines solve() with an argument for each number and never has a number in place of its argument."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == ENTRY]
    if not found:
        return False
    arguments = [a.arg for a in (*found[-1].args.posonlyargs, *found[-1].args.args)]
    if len(arguments) != len(slots):
        return False
    used = {n.id for n in ast.walk(found[-1]) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    constants = {
        Decimal(str(n.value))
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, int | float) and not isinstance(n.value, bool)
    }
    return all(name in used or slot.value not in constants for name, slot in zip(arguments, slots, strict=True))
