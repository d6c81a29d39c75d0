"""Estimates pass@k without bias from independent draws that verdicts ended, as long as they are looked at in the order
of the draws.

    orders(a ─► b): in how many orders the passes and fails between two counts can come with no stop on the way

    pass@k = 1 - orders((0 passed of k) ─► (c passed of n)) / orders((0 of 0) ─► (c of n))

The rule stops the draws by their counts alone, so that where it stopped, n and c say all there is to know of the chance
p of a pass: the mean of any statistic of the first k draws over the orders that lead there is unbiased (Girshick,
Mosteller and Savage 1946). Where the draws stop after r >= 2 passes this is pass@1 = (r - 1) / (n - 1), known as
inverse sampling (Haldane 1945); where they ran to their planned number, c / n. Draws of which nothing is known are
left out of both counts. A look at verdicts in the order in which they arrive would be biased: short answers come first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Ends = Callable[[int, int], bool]  # whether draws end when so many passed of so many with a verdict


def until_stop(passes: Sequence[bool | None], ends: Ends) -> int:
    """Counts the draws, in their order, up to and with the one at which they end; None: nothing is known of it."""
    passed = checked = 0
    for at, known in enumerate(passes, start=1):
        if known is not None:
            checked += 1
            passed += known
            if ends(passed, checked):
                return at
    return len(passes)


def pass_at_k(passes: Sequence[bool], k: int, ends: Ends) -> float | None:
    """Estimates the chance that one of k draws passes from the draws with a verdict, in their order, up to the stop.

    None where there are no draws, and where draws without a pass may end before the k-th: what the others would have
    been is not known then, and to leave such problems out alone would be biased.
    """
    n, c = len(passes), sum(passes)
    if k < 1 or not n or any(ends(0, checked) for checked in range(1, k)):
        return None
    if n < k:
        return 1.0 if c else None
    ways = _orders(0, n, c, ends)
    return 1.0 - _orders(k, n, c, ends) / ways if ways else None  # none: they did not end by this rule


def _orders(start: int, n: int, c: int, ends: Ends) -> int:
    """Orders that lead from 0 passed of `start` to c passed of n without a stop before n."""
    counts = [1]  # by number of passes, after `drawn` draws
    for drawn in range(start, n):
        if drawn:
            counts = [0 if ends(passed, drawn) else count for passed, count in enumerate(counts)]
        counts = [a + b for a, b in zip([*counts, 0], [0, *counts], strict=True)][: c + 1]
    return counts[c] if c < len(counts) else 0
