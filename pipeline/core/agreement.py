"""Says whether replicas of one model agree: log-probabilities of stored tokens, computed again by themselves and by
others.

    gaps of engines with themselves ─► tolerance (what numerics alone give)
    gaps between engines ─► pairs that disagree ─► suspects: who disagrees with most of the others

A gap is the mean absolute difference of a trajectory's log-probabilities, in nats a token. An engine with a wrong
weight agrees with itself, so its own gaps teach the tolerance as well as anybody's. Degenerate case: of two engines
that disagree nobody can say which is wrong; both are suspects and nothing is decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

FLOOR_NATS = 1e-3  # differences below it change no sample that anybody could notice
FACTOR = 4.0  # over the largest of the ordinary gaps
ORDINARY = 0.99
WRONG_SHARE = 0.2  # of a pair's gaps above the tolerance


@dataclass(frozen=True, slots=True)
class Gap:
    """One trajectory of `maker`, computed again by `checker`."""

    trajectory_id: str
    maker: str
    checker: str
    nats: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two engines, whoever made and whoever checked. `above`: gaps beyond the tolerance."""

    a: str
    b: str
    count: int
    above: int
    worst: Gap

    @property
    def disagrees(self) -> bool:
        """Whether at least WRONG_SHARE of the comparisons lay above the tolerance."""
        return self.above >= WRONG_SHARE * self.count


@dataclass(frozen=True, slots=True)
class Finding:
    """`tolerance` in nats a token, None while it is not known; `pairs` with enough samples; `suspects` sorted;
    `decided` False when as many are suspected as not."""

    tolerance: float | None
    pairs: tuple[Pair, ...] = ()
    suspects: tuple[str, ...] = ()
    decided: bool = False


def learn(own: Sequence[float], *, min_samples: int) -> float | None:
    """The tolerance that ordinary numerics need, from gaps of engines with themselves; None of too few."""
    if len(own) < min_samples:
        return None
    ordered = sorted(own)
    return max(FLOOR_NATS, FACTOR * ordered[int(ORDINARY * (len(ordered) - 1))])


def judge(gaps: Sequence[Gap], *, min_samples: int, tolerance: float | None = None) -> Finding:
    """`tolerance` None: learnt from the gaps of engines with themselves."""
    if tolerance is None:
        tolerance = learn([g.nats for g in gaps if g.maker == g.checker], min_samples=min_samples)
    if tolerance is None:
        return Finding(None)
    between: dict[tuple[str, str], list[Gap]] = defaultdict(list)
    for gap in gaps:
        if gap.maker != gap.checker:
            a, b = sorted((gap.maker, gap.checker))
            between[a, b].append(gap)
    pairs = tuple(
        Pair(a, b, len(found), sum(g.nats > tolerance for g in found), max(found, key=lambda g: g.nats))
        for (a, b), found in sorted(between.items())
        if len(found) >= min_samples
    )
    compared: dict[str, list[bool]] = defaultdict(list)
    for pair in pairs:
        compared[pair.a].append(pair.disagrees)
        compared[pair.b].append(pair.disagrees)
    suspects = tuple(sorted(e for e, wrong in compared.items() if sum(wrong) > len(wrong) / 2))
    return Finding(tolerance, pairs, suspects, bool(suspects) and 2 * len(suspects) < len(compared))
