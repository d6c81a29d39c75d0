"""Measures a trained value model on problems it never saw, with baselines beside it.

    held-out paths ─► scores of every step (one pass a path) ─► Evaluation: one Line a scorer, calibration, best of N

`prm` (or `orm`) is the model as it is served. Where the engine's log-probabilities are known, `prm_alone` is the model
without them, and `logprob` they without the model (blend_fit). Baselines: `constant` says the training labels' mean,
`length` a logistic curve in the number of tokens so far; best of N has the majority's answer and a random choice, by
the votes of core/values/votes.py, and the verifier itself. Where the truth is known (stages.training.ground_truth) each
scorer is held against it as well.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch

from berry.pipeline.rewards.model.value_model import ValueModel
from berry.pipeline.rewards.training import metrics
from berry.pipeline.rewards.training.examples import LabelledPath, Scores, TrainingSequence, masses_of
from berry.pipeline.rewards.training.metrics import Bin, ScoredLeaf, ScoredSteps
from berry.pipeline.rewards.training.packed_batches import logits_at, neighbours, passes

PACKED_ROWS = 16  # more share more, but cost more attention where its mask is dense


@dataclass(frozen=True, slots=True)
class Line:
    """One scorer's figures; None where they are not defined. A PRM's are over steps, each shared prefix once, against
    the trees' labels; an ORM's over trajectories against the verdicts. `truth_*`: against the truth."""

    scorer: str
    auc: float | None
    calibration_error: float
    brier: float | None
    step_f1: float | None = None
    first_error_f1: float | None = None
    first_error_accuracy: float | None = None
    no_error_accuracy: float | None = None
    threshold: float | None = None
    truth_auc: float | None = None
    truth_correlation: float | None = None
    truth_first_error_f1: float | None = None
    truth_calibration_error: float | None = None
    truth_mean_error: float | None = None


@dataclass(frozen=True, slots=True)
class RewardEvaluation:
    """How a trained value model does on held-out problems."""

    what: str
    problems: int
    trajectories: int
    labels: int
    positives: float
    lines: tuple[Line, ...]
    curve: tuple[Bin, ...]
    best_of_n: dict[str, float]
    candidates: float  # checked trajectories a problem, in the mean
    truth: dict[str, Any] = field(default_factory=dict)

    def line(self, scorer: str) -> Line:
        """The figures of one scorer. Raises StopIteration if there are none of it."""
        return next(line for line in self.lines if line.scorer == scorer)


def score_paths(
    model: ValueModel, paths: Sequence[LabelledPath], *, batch_tokens: int = 16384, packed: bool = False
) -> Scores:
    """The model's value at the end of each step of each path. `packed`: read shared prefixes once, for models that can
    (`reward_trainer.why_not_packed`)."""
    rows = [_sample(path) for path in paths]
    scores: Scores = [[] for _ in paths]
    for some in neighbours(rows, PACKED_ROWS) if packed else _padded_batches(rows, batch_tokens):
        for one in passes([rows[i] for i in some], pack_tokens=batch_tokens if packed else None):
            with torch.inference_mode():
                values = model.values(logits_at(model, one.pack, one.places)).tolist()
            at = 0
            for number in one.rows:
                i = some[number]
                scores[i] = values[at : at + len(paths[i].ends)]
                at += len(paths[i].ends)
    return scores


def _padded_batches(rows: Sequence[TrainingSequence], batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of rows of like length, so many that the padded batch holds at most `batch_tokens`."""
    batch: list[int] = []
    for number in sorted(range(len(rows)), key=lambda i: len(rows[i].ids)):
        if batch and len(rows[number].ids) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _sample(path: LabelledPath) -> TrainingSequence:
    before = len(path.prompt_ids) - 1
    positions = tuple(before + end for end in path.ends)
    ones = (1.0,) * len(positions)
    return TrainingSequence((*path.prompt_ids, *path.response_ids), positions, ones, ones)


def evaluate(
    what: Literal["prm", "orm"],
    model_scores: Scores,
    paths: Sequence[LabelledPath],
    *,
    validation_scores: Scores,
    validation: Sequence[LabelledPath],
    train: Sequence[LabelledPath],
    others: Mapping[str, tuple[Scores, Scores]] | None = None,
) -> RewardEvaluation:
    """`paths` are held out. Thresholds are chosen on `validation`, baselines fitted on `train`. `others`: further
    scorers by name, their scores of `paths` and of `validation`."""
    level, curve = _baselines(what, train)
    scorers: dict[str, tuple[Scores, Scores]] = {
        what: (model_scores, validation_scores),
        **(others or {}),
        "constant": (_constant(paths, level), _constant(validation, level)),
        "length": (_by_length(paths, curve), _by_length(validation, curve)),
    }
    lines = tuple(
        _line(what, name, scores, paths, held_back, validation) for name, (scores, held_back) in scorers.items()
    )
    pairs = _labels(what, model_scores, paths)
    _, bins = metrics.calibration([p.score for p in pairs], [p.soft for p in pairs], [p.mass for p in pairs])
    compared = {what: model_scores} | {name: scores for name, (scores, _) in (others or {}).items()}
    groups = _leaves(what, compared, paths)
    return RewardEvaluation(
        what=what,
        problems=len(groups),
        trajectories=len(paths),
        labels=len(pairs),
        positives=_mean_label(pairs),
        lines=lines,
        curve=tuple(bins),
        best_of_n=metrics.best_of_n(list(groups.values())),
        candidates=sum(map(len, groups.values())) / len(groups) if groups else 0.0,
        truth=label_truth(paths),
    )


class _ScoredLabel(NamedTuple):
    """A score with its label; `mass`: what the label weighs, so that those of cut trees are unbiased together."""

    score: float
    soft: float
    hard: bool
    mass: float


def _labels(what: str, scores: Scores, paths: Sequence[LabelledPath]) -> list[_ScoredLabel]:
    """A pair of everything that has a label."""
    labels: list[_ScoredLabel] = []
    for path, row in zip(paths, scores, strict=True):
        if what == "orm":
            if path.passed is not None:
                labels.append(_ScoredLabel(row[-1], float(path.passed), path.passed, 1.0))
            continue
        for score, soft, hard, first, mass in zip(row, path.soft, path.hard, path.first, masses_of(path), strict=True):
            if first and soft is not None and hard is not None:
                labels.append(_ScoredLabel(score, soft, hard, mass))
    return labels


def _mean_label(pairs: Sequence[_ScoredLabel]) -> float:
    mass = sum(p.mass for p in pairs)
    return sum(p.soft * p.mass for p in pairs) / mass if mass else 0.0


def _line(
    what: str,
    scorer: str,
    scores: Scores,
    paths: Sequence[LabelledPath],
    validation_scores: Scores,
    validation: Sequence[LabelledPath],
) -> Line:
    pairs = _labels(what, scores, paths)
    values, soft, hard = [p.score for p in pairs], [p.soft for p in pairs], [p.hard for p in pairs]
    masses = [p.mass for p in pairs]
    error, _ = metrics.calibration(values, soft, masses)
    line = Line(
        scorer=scorer,
        auc=metrics.auc(values, hard),
        calibration_error=error,
        brier=metrics.brier(values, soft, masses),
        **_against_truth(what, scores, paths),
    )
    if what == "orm":
        return line
    threshold = metrics.best_threshold(_steps(validation_scores, validation))
    firsts = metrics.first_errors(_steps(scores, paths), threshold)
    kept = {f: getattr(line, f) for f in ("scorer", "auc", "calibration_error", "brier")}
    true_firsts = {}
    if paths and paths[0].true_good is not None:
        true_threshold = metrics.best_threshold(_true_steps(validation_scores, validation))
        true_firsts["truth_first_error_f1"] = metrics.first_errors(_true_steps(scores, paths), true_threshold).f1
    return Line(
        **kept,
        step_f1=metrics.f1_of_bad(values, hard, threshold),
        first_error_f1=firsts.f1,
        first_error_accuracy=firsts.wrong_accuracy,
        no_error_accuracy=firsts.right_accuracy,
        threshold=threshold,
        truth_auc=line.truth_auc,
        truth_correlation=line.truth_correlation,
        truth_calibration_error=line.truth_calibration_error,
        truth_mean_error=line.truth_mean_error,
        **true_firsts,
    )


def _steps(scores: Scores, paths: Sequence[LabelledPath]) -> list[ScoredSteps]:
    return [ScoredSteps(row, path.hard) for row, path in zip(scores, paths, strict=True)]


def _true_steps(scores: Scores, paths: Sequence[LabelledPath]) -> list[ScoredSteps]:
    return [ScoredSteps(row, path.true_good or ()) for row, path in zip(scores, paths, strict=True)]


def _against_truth(what: str, scores: Scores, paths: Sequence[LabelledPath]) -> dict[str, float | None]:
    if not paths or paths[0].true_good is None:
        return {}
    flat: list[tuple[float, float | None, bool]] = []
    for path, row in zip(paths, scores, strict=True):
        good = path.true_good or ()
        triples = list(zip(row, path.truth or [None] * len(row), good, strict=True))
        flat.extend(triples[-1:] if what == "orm" else triples)
    valued = [(score, value) for score, value, _ in flat if value is not None]
    error, _ = metrics.calibration([s for s, _ in valued], [v for _, v in valued])
    return {
        "truth_calibration_error": error if valued else None,
        "truth_mean_error": sum(s - v for s, v in valued) / len(valued) if valued else None,
        "truth_auc": metrics.auc([score for score, _, _ in flat], [good for _, _, good in flat]),
        "truth_correlation": metrics.correlation([s for s, _ in valued], [v for _, v in valued]),
    }


def label_truth(paths: Sequence[LabelledPath]) -> dict[str, Any]:
    """How far the trees' soft labels are from the truth, each shared prefix once: the mean of the differences by what
    the labels weigh, with its standard error by problem (the labels of one tree hang together)."""
    by_problem: dict[str, list[tuple[float, float]]] = defaultdict(list)  # (difference, mass)
    for path in paths:
        for soft, truth, first, mass in zip(path.soft, path.truth or (), path.first, masses_of(path), strict=False):
            if first and soft is not None:
                by_problem[path.problem_id].append((soft - truth, mass))
    sums = [(sum(d * m for d, m in pairs), sum(m for _, m in pairs)) for pairs in by_problem.values()]
    total = sum(mass for _, mass in sums)
    if len(sums) < 2 or not total:
        return {}
    bias = sum(difference for difference, _ in sums) / total
    rest = [difference - bias * mass for difference, mass in sums]  # of a ratio of means
    error = math.sqrt(sum(r * r for r in rest) * len(rest) / (len(rest) - 1)) / total
    return {"label_bias": bias, "standard_error": error, "problems": len(sums)}


def _leaves(what: str, scores: Mapping[str, Scores], paths: Sequence[LabelledPath]) -> dict[str, list[ScoredLeaf]]:
    groups: dict[str, list[ScoredLeaf]] = defaultdict(list)
    for i, path in enumerate(paths):
        if path.passed is None:
            continue
        by: dict[str, float] = {}
        for name, rows in scores.items():
            row = rows[i]
            by |= {name: row[-1]} if what == "orm" else {f"{name}_last": row[-1], f"{name}_min": min(row)}
        groups[f"{path.round_index}/{path.problem_id}"].append(ScoredLeaf(path.passed, path.answer, by, path.vote))
    return dict(groups)


def _constant(paths: Sequence[LabelledPath], level: float) -> Scores:
    return [[level] * len(path.ends) for path in paths]


def _by_length(paths: Sequence[LabelledPath], curve: tuple[float, float]) -> Scores:
    return [[_logistic(curve[0] + curve[1] * end / 100) for end in path.ends] for path in paths]


def _baselines(what: str, train: Sequence[LabelledPath]) -> tuple[float, tuple[float, float]]:
    """Mean label, and a logistic curve in hundreds of tokens fitted by Newton's method."""
    ends = [[float(end) for end in path.ends] for path in train]
    labels = _labels(what, ends, train)
    pairs = [(p.score / 100, p.soft) for p in labels]
    level = _mean_label(labels) if labels else 0.5
    a, b = math.log(max(level, 1e-6) / max(1 - level, 1e-6)), 0.0
    for _ in range(25):
        g0 = g1 = 0.0
        h00 = h01 = h11 = 1e-6
        for x, y in pairs:
            p = _logistic(a + b * x)
            w = p * (1 - p)
            g0, g1 = g0 + y - p, g1 + (y - p) * x
            h00, h01, h11 = h00 + w, h01 + w * x, h11 + w * x * x
        det = h00 * h11 - h01 * h01
        if abs(det) < 1e-12:
            break
        a, b = a + (h11 * g0 - h01 * g1) / det, b + (h00 * g1 - h01 * g0) / det
    return level, (a, b)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, x))))
