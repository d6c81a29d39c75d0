"""Answers per second of the checker over plain math_verify, and 64 nasty inputs at once beside honest ones.

    python -P tests/benchmarks/verifiers.py [--rows 400] [--repeats 5]

GSM8K-style and MATH-style responses are made here from a seed: a few sentences of working, then `#### N` or a boxed
answer, half of them wrong. With BERRY_DATA set, GSM8K's own training solutions are taken too. Both sides check the
same rows in one process, one after another; the median of the repeats' ratios is printed, with every difference
between the two sides' verdicts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

from math_verify import parse, verify

from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.maths.answers import values
from berry.verifiers.maths.expressions import evaluate, expr, normal
from berry.verifiers.specs.base import Strictness
from berry.verifiers.specs.union import MathSpec

Row = tuple[str, str]  # gold, response

_STEPS = (
    "First we write the condition as $f({a}) = {b}x + {c}$ and expand both sides.",
    "Since $\\angle ABC = {a}^\\circ$, the remaining angle is $180^\\circ - {a}^\\circ - {b}^\\circ$.",
    "Substituting gives \\[ {a}x^2 + {b}x - {c} = 0, \\] which factors after multiplying by {a}.",
    "By the triangle inequality we need $n < {a} + {b}$, so there are at most {c} cases to look at.",
    "The number of ways to choose is $\\binom{{{a}}}{{2}}$, and each is counted {b} times.",
    "Therefore the area equals $\\frac{{1}}{{2}} \\cdot {a} \\cdot {b}$ before the correction by ${c}$.",
)


def math_rows(count: int, seed: int) -> list[Row]:
    """MATH-style: the answers' kinds in about the shares of that data set."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        gold, same, other = _answer(rng)
        working = "\n\n".join(
            rng.choice(_STEPS).format(a=rng.randint(2, 90), b=rng.randint(2, 60), c=rng.randint(2, 40))
            for _ in range(rng.randint(3, 7))
        )
        given = same if rng.random() < 0.5 else other
        rows.append((gold, f"{working}\n\nThus, the answer is $\\boxed{{{given}}}$."))
    return rows


def _answer(rng: random.Random) -> tuple[str, str, str]:
    """(gold, another spelling of it, something else)."""
    a, b, c = rng.randint(2, 400), rng.randint(2, 60), rng.randint(2, 30)
    half = Fraction(a, b)
    kind = rng.random()
    if kind < 0.55:
        return str(a), str(a), str(a + 1)
    if kind < 0.70:
        n, d = half.numerator, half.denominator
        return f"\\frac{{{n}}}{{{d}}}", f"\\dfrac{{{n}}}{{{d}}}", f"\\frac{{{n + d}}}{{{d}}}"
    if kind < 0.78:
        return f"{b}\\sqrt{{{c}}}", f"\\sqrt{{{b * b * c}}}", f"{b + 1}\\sqrt{{{c}}}"
    if kind < 0.84:
        return f"{b}x^2 + {c}x - {a}", f"{c}x+{b}x^2-{a}", f"{b}x^2 - {c}x - {a}"
    if kind < 0.90:
        return f"({b}, {c})", f"\\left({b},{c}\\right)", f"({b}, {c + 1})"
    if kind < 0.94:
        return f"[{b}, {b + c})", f"\\left[{b}, {b + c}\\right)", f"[{b}, {b + c + 1})"
    if kind < 0.97:
        return f"{b}\\pi", f"\\pi \\cdot {b}", f"{b + 1}\\pi"
    if kind < 0.99:
        return f"{b} - {c}i", f"{b}-{c}i", f"{b}+{c}i"
    return f"\\frac{{\\sin {b}x}}{{2}}", f"\\frac12\\sin({b}x)", f"\\frac{{\\cos {b}x}}{{2}}"


def gsm8k_rows(count: int, seed: int) -> list[Row]:
    """GSM8K-style; the data set's own solutions where BERRY_DATA has them."""
    rng = random.Random(seed)
    data = Path(os.environ.get("BERRY_DATA", "/nonexistent")) / "gsm8k_train.jsonl"
    rows: list[Row] = []
    if data.is_file():
        lines = rng.sample(data.read_text(encoding="utf-8").splitlines(), count)
        for row in map(json.loads, lines):
            gold = row["answer"].rpartition("#### ")[2].replace(",", "")
            wrong = rng.random() < 0.5
            rows.append((str(int(gold) + wrong) if gold.lstrip("-").isdigit() else gold, row["answer"]))
        return rows
    for _ in range(count):
        a, b = rng.randint(2, 99), rng.randint(2, 99)
        text = (
            f"She buys {a} boxes with {b} pens each, so {a} * {b} = {a * b} pens.\nHalf of them are blue.\n#### {a * b}"
        )
        rows.append((str(a * b + (rng.random() < 0.5)), text))
    return rows


def plain(rows: list[Row]) -> tuple[float, list[bool]]:
    start = time.perf_counter()
    verdicts = [bool(verify(parse(f"${gold}$"), parse(response))) for gold, response in rows]
    return time.perf_counter() - start, verdicts


async def ours(checker: Checker, rows: list[Row]) -> tuple[float, list[bool]]:
    for cached in (values.read, expr.parse, normal.clean, evaluate.number):
        cached.cache_clear()
    requests = [CheckRequest(str(i), MathSpec(answer=gold), response) for i, (gold, response) in enumerate(rows)]
    start = time.perf_counter()
    verdicts = [(await checker.check(request)).passed for request in requests]
    return time.perf_counter() - start, verdicts


NASTY = (
    "9^{9^{9^9}}",
    "\\boxed{" * 2000,
    "\\int_0^{\\infty} \\frac{\\sin(x^3+x)}{x^{5}+\\sqrt{x^3+1}} dx",
    "\\sum_{k=1}^{100000000} \\frac{1}{k^3+k}",
    "1" * 100_000,
    "(" * 5000,
    "\\frac{" * 300 + "1",
    "\\prod_{k=1}^{99999999} k",
    "x^{x^{x^{x}}} - \\sqrt{\\sqrt{\\sqrt{x}}}",
    "\\lim_{n \\to \\infty} \\sum_{k=1}^{n} \\frac{\\sin k}{k}",
    "\x00\x01\x02",
    "5 or 6 or 7",
    "99999999!",
    "\\sin(" * 30 + "x" + ")" * 30,
    "\u202e24\u202c",
    "a" * 60_000,
)


async def nasty(symbolic_s: float) -> None:
    """64 nasty answers at once among honest ones: what they cost, and what became of the honest ones."""
    async with Checker(CheckerConfig(symbolic_s=symbolic_s)) as checker:
        await checker.check(CheckRequest("warm", MathSpec(answer="\\sin x"), "\\boxed{\\cos x}"))
        evaluated = MathSpec(answer="42", strictness=Strictness(unevaluated="allowed"))  # the most there is to compute
        bad = [CheckRequest(f"bad{i}", evaluated, f"\\boxed{{{NASTY[i % len(NASTY)]}}}") for i in range(64)]
        good = [CheckRequest(f"good{i}", MathSpec(answer=str(i)), f"The answer is {i}.") for i in range(200)]
        mixed = [request for pair in zip(bad, good[:64], strict=True) for request in pair] + good[64:]
        start = time.perf_counter()
        verdicts = await asyncio.gather(*(checker.check(request) for request in mixed))
        wall = time.perf_counter() - start
        by_id = dict(zip((r.problem_id for r in mixed), verdicts, strict=True))
        passed = sum(by_id[r.problem_id].passed for r in good)
        print(f"64 nasty and 200 honest answers at once: {wall:.1f} s; honest ones passed: {passed}/200")
        print(f"  nasty: {dict(Counter(str(by_id[r.problem_id].reason) for r in bad))}")
        killed = checker.metrics()["symbolic_restarts"]
        print(f"  symbolic workers killed: {killed:.0f}, each after at most {symbolic_s} s")


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=400)
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    async with Checker(CheckerConfig(slots=1)) as checker:
        await checker.check(CheckRequest("warm", MathSpec(answer="\\sin x"), "\\boxed{\\cos x}"))
        for name, make in (("GSM8K-style", gsm8k_rows), ("MATH-style", math_rows)):
            plain(make(50, -1))  # both sides warm
            await ours(checker, make(50, -1))
            ratios, speeds = [], []
            differences: Counter[str] = Counter()
            for repeat in range(chosen.repeats):
                rows = make(chosen.rows, repeat)
                plain_s, theirs = plain(rows)
                ours_s, mine = await ours(checker, rows)
                ratios.append(plain_s / ours_s)
                speeds.append((len(rows) / ours_s, len(rows) / plain_s))
                for (gold, response), a, b in zip(rows, mine, theirs, strict=True):
                    if a != b:
                        differences[f"{gold!r} against {response[-60:]!r}: ours {a}, plain {b}"] += 1
            mine_s, theirs_s = (statistics.median(s[i] for s in speeds) for i in (0, 1))
            print(
                f"{name}: {statistics.median(ratios):.1f}x plain math_verify "
                f"({mine_s:,.0f} against {theirs_s:,.0f} answers/s; {chosen.repeats} x {chosen.rows} rows)"
            )
            print(f"  different verdicts: {sum(differences.values())}")
            for text, times in differences.most_common(10):
                print(f"    {times} x {text}")
        asked = checker.metrics()["symbolic_asked"]
        print(f"  decided by the symbolic worker: {asked:.0f} of {2 * chosen.repeats * chosen.rows}")
    await nasty(2.0)


if __name__ == "__main__":
    asyncio.run(main())
