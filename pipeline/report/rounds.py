"""Counts what each round brought: pass@1 on problems never trained on, kept share, tokens, and what the cuts cost.

root values, trajectories of every round ─► RoundLine

Held-out problems are searched without pruning and early stops in every round (core/search/audit.py), so that a cut does
not look like learning. Rounds are compared on the problems that have a value in each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from berry.pipeline.records import FIRST_WEIGHTS, ValueKind
from berry.pipeline.stages.dataset.stored_families import StoredFamilies, stored_families
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import connect
from berry.pipeline.storage.run.weights_file import trainings_of_round, weights_after, weights_of_round

if TYPE_CHECKING:
    import duckdb

Rates = dict[str, float]  # pass@1 by problem


@dataclass(frozen=True, slots=True)
class RoundLine:
    """Shares in [0, 1], tokens in tokens; None where nothing can be told.

    `heldout_pass_at_1`: mean of the roots' values over the `heldout_problems` that have one in every round, held out
    from all training, with the half-width `heldout_error` of its 95% interval over problems; `heldout_gain`: mean
    difference to the first round on the same problems, with its own. `heldout_null`: held-out problems left out, since
    some round has no unbiased value of theirs. `other_pass_at_1`: the same mean over the `other_problems` of this round
    with a value, which were pruned and learned from. `pooled`: the figures are plain shares of leaves, as runs of 0.1.0
    have them, too high under cuts. `tokens`: generated, cut ones included. `staleness`: versions by which the weights
    that sampled are behind those that learned from all rounds before, the most of any row; null where rows name a
    version that no training of the run made.
    """

    round_index: int
    heldout_problems: int
    heldout_pass_at_1: float | None
    heldout_error: float | None
    heldout_gain: float | None
    heldout_gain_error: float | None
    heldout_null: int
    other_problems: int
    other_pass_at_1: float | None
    pooled: bool
    trajectories: int
    kept: int
    cut: int
    tokens: int
    engine: str
    rewards: str
    staleness: int | None

    @property
    def kept_share(self) -> float:
        """Share of the round's trajectories that are kept, in [0, 1]."""
        return self.kept / self.trajectories if self.trajectories else 0.0

    @property
    def kept_per_1000_tokens(self) -> float:
        """Kept trajectories for each thousand tokens that were generated."""
        return 1000 * self.kept / self.tokens if self.tokens else 0.0


def round_lines(run: RunDir, mode: str | None = None) -> list[RoundLine]:
    """Reads a line for each round, the first round first. `mode`: of the problems searched in it; None: of all."""
    db = connect(run)
    families = stored_families(run, db)
    heldout, others, seen = _rates(db, families, mode)
    totals = db.execute(
        "select round, count(*), count(*) filter (kept), count(*) filter (drop_reason = 'cut_in_loop'), "
        "sum(n_new_tokens)::bigint from trajectories where ? is null or mode = ? group by 1 order by 1",
        [mode, mode],
    ).fetchall()
    rounds = [index for index, *_ in totals]
    common = sorted(set[str].intersection(*(set(heldout[index]) for index in rounds))) if rounds else []
    lines: list[RoundLine] = []
    for index, count, kept, cut, tokens in totals:
        rates = [heldout[index][problem] for problem in common]
        gains = [heldout[index][problem] - heldout[rounds[0]][problem] for problem in common]
        first = index == rounds[0]
        lines.append(
            RoundLine(
                round_index=index,
                heldout_problems=len(common),
                heldout_pass_at_1=_mean(rates),
                heldout_error=_error(rates),
                heldout_gain=None if first else _mean(gains),
                heldout_gain_error=None if first else _error(gains),
                heldout_null=len(seen - set(common)),
                other_problems=len(others[index]),
                other_pass_at_1=_mean(list(others[index].values())),
                pooled=not families.values,
                trajectories=count,
                kept=kept,
                cut=cut,
                tokens=tokens or 0,
                staleness=_staleness(run, db, index),
                **_weights(run, index),
            )
        )
    return lines


def rounds_by_mode(run: RunDir) -> list[tuple[str | None, list[RoundLine]]]:
    """The lines of each mode's rounds, since a rate is of one mode; of a run without modes those of all, under None."""
    modes = ((run.config() or {}).get("rollout") or {}).get("modes") or ()
    if not modes:
        return [(None, round_lines(run))]
    named = [(mode["name"], round_lines(run, mode["name"])) for mode in modes]
    return [(name, lines) for name, lines in named if lines]


def _rates(
    db: duckdb.DuckDBPyConnection, families: StoredFamilies, mode: str | None
) -> tuple[dict[int, Rates], dict[int, Rates], set[str]]:
    """The roots' values by round, of held-out problems and of the others, and all held-out problems there are."""
    heldout: dict[int, Rates] = defaultdict(dict)
    others: dict[int, Rates] = defaultdict(dict)
    seen: set[str] = set()
    for index, problem, value, kind in db.execute(
        "select round, problem_id, value, value_kind from nodes where depth = 0 and (? is null or mode = ?) "
        "order by 1, 2",
        [mode, mode],
    ).fetchall():
        held = families.part(problem) == "heldout"
        if held:
            seen.add(problem)
        rate = value if kind in (ValueKind.ESTIMATE, ValueKind.POOLED) else None  # pooled: of schema version 1
        if rate is not None:
            (heldout if held else others)[index][problem] = rate
    return heldout, others, seen


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _error(values: Sequence[float]) -> float | None:
    """Half the width of the mean's 95% interval (normal, problems as independent draws); None for fewer than two."""
    return 1.96 * stdev(values) / sqrt(len(values)) if len(values) > 1 else None


def _weights(run: RunDir, round_index: int) -> dict[str, Any]:
    """Reads the versions that served in a round, as the learning left them that it was made with."""
    served = weights_of_round(run, round_index)
    if served is None:
        return {"engine": "as configured", "rewards": ""}
    return {
        "engine": "as configured" if served.engine is None else served.engine.version,
        "rewards": ", ".join(weights.version for weights in served.rewards.values()),
    }


def _staleness(run: RunDir, db: duckdb.DuckDBPyConnection, round_index: int) -> int | None:
    """Versions of the generator, as its rows name them; of reward models alone, as the rounds are scheduled."""
    stored = (run.config() or {}).get("rounds") or {}
    if not stored.get("overlap"):
        return 0
    before = [after for number in range(round_index) if (after := weights_after(run, number)) is not None]
    if len(before) < round_index:
        return None  # not trained yet
    if not stored.get("policy"):
        made_with = weights_of_round(run, round_index)
        return None if made_with is None else round_index - trainings_of_round(run, round_index)
    versions = [FIRST_WEIGHTS, *(w.engine.version for w in before if w.engine is not None)]
    versions = list(dict.fromkeys(versions))
    asked = "select distinct weights_version from nodes where round = ? and parent is not null and role = 'assistant'"
    used = {version for (version,) in db.execute(asked, [round_index]).fetchall()}
    if not used <= set(versions):
        return None  # pushed from outside
    return max((len(versions) - 1 - versions.index(version) for version in used), default=None)
