"""What one way of searching kept of the same problems as another, and how sure that is. Used by rounds.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from berry.pipeline.engines.text import vocabulary
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.training.ground_truth import ground_truth_of
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import connect

DRAWS = 2000


@dataclass(frozen=True)
class Yield:
    """Of one problem. `tokens`: generated, cut branches included. `sound`: kept trajectories whose every line is
    right."""

    tokens: int
    kept: int
    sound: int


@dataclass(frozen=True)
class Harvest:
    """`of` each problem, in the order of their ids."""

    of: tuple[Yield, ...]
    branches: int
    distinct: int

    @property
    def problems(self) -> int:
        return len(self.of)

    @property
    def solved(self) -> int:
        """Problems with a kept trajectory: a cut that gives up hard problems shows here."""
        return sum(one.kept > 0 for one in self.of)

    @property
    def tokens(self) -> int:
        return sum(one.tokens for one in self.of)

    @property
    def kept(self) -> int:
        return sum(one.kept for one in self.of)

    @property
    def per_1000(self) -> float:
        return 1000 * self.kept / max(1, self.tokens)

    @property
    def sound(self) -> float:
        return sum(one.sound for one in self.of) / max(1, self.kept)


def times(mine: Harvest, theirs: Harvest) -> tuple[float, float, float]:
    """Kept trajectories a token over theirs, with its 95% interval."""
    return _compared(mine, theirs, lambda a, b: (a[:, 1] / a[:, 0]) / np.maximum(b[:, 1] / b[:, 0], 1e-9))


def sounder(mine: Harvest, theirs: Harvest) -> tuple[float, float, float]:
    """By how much more of what is kept is right in every line, with its 95% interval."""
    return _compared(mine, theirs, lambda a, b: a[:, 2] / np.maximum(a[:, 1], 1) - b[:, 2] / np.maximum(b[:, 1], 1))


def _compared(
    mine: Harvest, theirs: Harvest, figure: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[float, float, float]:
    """The figure and its interval: problems drawn anew, the same for both. `figure` takes sums of tokens, kept and
    sound, one row a draw."""
    a, b = (np.array([(one.tokens, one.kept, one.sound) for one in harvest.of], float) for harvest in (mine, theirs))
    drawn = np.random.default_rng(0).integers(len(a), size=(DRAWS, len(a)))
    found = figure(a[drawn].sum(axis=1), b[drawn].sum(axis=1))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(figure(a.sum(axis=0)[None], b.sum(axis=0)[None])[0]), float(low), float(high)


def harvest(run: RunDir, problems: set[str], *, liked: float | None = None) -> Harvest:
    """`liked`: of what was kept, only trajectories that have no step which the PRM values less, as the pruning rule
    `{type: prm, at_least: …}` leaves them."""
    db = connect(run)
    config = stored_config(run)
    chosen = sorted(problems)
    where = "where list_contains($1, problem_id)"
    tokens = dict(
        db.execute(
            f"select problem_id, sum(len(token_ids))::bigint from nodes {where} and parent is not null group by 1",
            [chosen],
        ).fetchall()
    )
    branches = db.execute(f"select count(*) from trajectories {where}", [chosen]).fetchone()
    rows = db.execute(
        f"select problem_id, response, prompt_token_ids, token_ids, verdict from kept {where} "
        "and ($2 is null or list_min(prm_scores) >= $2)",
        [chosen, liked],
    ).fetchall()
    assert branches is not None
    assert all(row[4] == "pass" for row in rows)
    truth = ground_truth_of(config, vocabulary.of_engine(config.engine))
    assert truth is not None
    kept = dict.fromkeys(chosen, 0)
    sound = dict.fromkeys(chosen, 0)
    for problem, _, prompt_ids, token_ids, _ in rows:
        kept[problem] += 1
        sound[problem] += truth(prompt_ids, token_ids)[1]
    return Harvest(
        of=tuple(Yield(tokens.get(p, 0), kept[p], sound[p]) for p in chosen),
        branches=branches[0],
        distinct=len({(row[0], row[1]) for row in rows}),
    )
