"""Makes the training data of value models (paths of trees with a label at each step's end)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

from berry.pipeline.rewards.model.blend import Evidence

Scores = list[list[float]]  # a path, a step


@dataclass(frozen=True, slots=True)
class LabelledPath:
    """One trajectory. `ends` are its steps' ends as offsets into `response_ids`, ascending, the last being its length;
    `soft`, `hard` and `visits` are the labels there: the estimated value of the prefix, whether any continuation passed
    (both None where there is no label), and the independent continuations behind it. `masses`: the weight of each
    label, without which labels of trees with cuts are biased (core/values); empty: 1. `first` says where this path is
    the first of its tree to show the label: a shared prefix is to be learned once. `truth` is the true value at
    each step's end and `true_good` whether the reasoning is right so far, known for the synthetic engine alone.
    `evidence` is what the engine recorded up to each step's end (None where a step ends inside a segment, whose
    log-probability is stored as one number); empty: nothing. `vote`: what its answer weighs in an election among the
    leaves of its tree (core/values/votes.py). `tokens` counts the response's."""

    problem_id: str
    trajectory_id: str
    round_index: int
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    ends: tuple[int, ...]
    soft: tuple[float | None, ...]
    hard: tuple[bool | None, ...]
    visits: tuple[int, ...]
    first: tuple[bool, ...]
    passed: bool | None
    answer: str | None
    truth: tuple[float, ...] | None = None
    true_good: tuple[bool, ...] | None = None
    evidence: tuple[Evidence | None, ...] = ()
    masses: tuple[float, ...] = ()
    vote: float = 1.0

    @property
    def tokens(self) -> int:
        """Tokens of the response."""
        return len(self.response_ids)


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """A sequence with targets in [0, 1] and weights at some of its positions (0-based token offsets)."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    targets: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Splits:
    """Paths by what they are for; their problems are disjoint."""

    train: list[LabelledPath]
    validation: list[LabelledPath]
    heldout: list[LabelledPath]


def samples(
    paths: Sequence[LabelledPath],
    *,
    what: Literal["prm", "orm"],
    targets: Literal["soft", "hard"],
    min_visits: int,
    weigh_by_visits: bool,
) -> list[TrainingSequence]:
    """Targets for each path; paths without any are left out. An ORM's is the verdict at the last token; a PRM's are the
    steps' labels, each shared prefix once."""
    made: list[TrainingSequence] = []
    weigh = weigher(paths, by_visits=weigh_by_visits)
    for path in paths:
        ids = (*path.prompt_ids, *path.response_ids)
        if what == "orm":
            if path.passed is not None and path.response_ids:
                made.append(TrainingSequence(ids, (len(ids) - 1,), (float(path.passed),), (1.0,)))
            continue
        chosen = [
            (len(path.prompt_ids) + end - 1, float(hard if targets == "hard" else soft), weigh(visits, mass))
            for end, soft, hard, visits, first, mass in zip(
                path.ends, path.soft, path.hard, path.visits, path.first, masses_of(path), strict=True
            )
            if first and soft is not None and hard is not None and visits >= min_visits and end > 0
        ]
        if chosen:
            positions, wanted, weights = zip(*chosen, strict=True)
            made.append(TrainingSequence(ids, positions, wanted, weights))
    return made


def weight_of(visits: int) -> float:
    """A soft label from v continuations weighs v / (1 + v / 4): in proportion while its error is sampling, levelling
    off where more continuations would not make the model know better."""
    return visits / (1 + visits / 4)


def weigher(paths: Sequence[LabelledPath], *, by_visits: bool) -> Callable[[int, float], float]:
    """The weight of a label with so many continuations behind it and such a mass. Where branches were cut the mass
    alone: how many continuations are left says how good they looked, and would bring back the bias that masses undo."""
    cut = any(
        mass != 1.0 for path in paths for mass, soft in zip(path.masses, path.soft, strict=False) if soft is not None
    )
    if cut or not by_visits:
        return lambda visits, mass: mass  # noqa: ARG005
    return lambda visits, mass: mass * weight_of(visits)


def masses_of(path: LabelledPath) -> tuple[float, ...]:
    """The weight of each step's label in the loss, one a step; 1 each where none is given."""
    return path.masses or (1.0,) * len(path.ends)


@dataclass(frozen=True, slots=True)
class LabelBalance:
    """Factors on the two parts of a label's loss, so that goodness and badness weigh the same in sum. A soft target t
    is t parts good and 1 - t parts bad. Training with them multiplies the odds by good / bad: `logit_mean` is what is
    to be taken off a logit afterwards, so that values are calibrated all the same."""

    good: float = 1.0
    bad: float = 1.0

    @property
    def logit_mean(self) -> float:
        """The logit of the share of good labels: log(good / bad)."""
        return log(self.good / self.bad)


def balance(made: Sequence[TrainingSequence]) -> LabelBalance:
    """The factors that balance these samples."""
    good = sum(w * t for s in made for t, w in zip(s.targets, s.weights, strict=True))
    bad = sum(w * (1 - t) for s in made for t, w in zip(s.targets, s.weights, strict=True))
    return balance_of(good, bad)


def balance_of(good: float, bad: float) -> LabelBalance:
    """The factors that balance what the good and the bad parts of labels weigh; (1, 1) if one kind is missing."""
    if not good or not bad:
        return LabelBalance()
    half = (good + bad) / 2
    return LabelBalance(half / good, half / bad)
