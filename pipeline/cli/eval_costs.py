"""Says what the answers of an evaluation cost: the arithmetic of its models, and the price on a named cluster."""

from __future__ import annotations

from itertools import combinations

from berry.pipeline.config.plan import Calibration, RewardUse
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig, plain
from berry.pipeline.engines import models as weights
from berry.pipeline.errors import BerryError, ConfigError
from berry.pipeline.planning.capacity import plan
from berry.pipeline.planning.models import model_sheet
from berry.pipeline.planning.runs import workload_of
from berry.pipeline.planning.sheets import prices as price_sheet
from berry.pipeline.stages.evaluation.compute import GENERATOR, ForwardCost, Price
from berry.pipeline.stages.training.benchmark_overlap import judged_models


def reward_models(config: RunConfig) -> dict[str, str]:
    """Names or folders of the unnamed reward models of a run, by role."""
    return {role: model for role, model in judged_models(config).items() if role in ("prm", "orm")}


def models(config: RunConfig) -> tuple[dict[str, ForwardCost], list[str]]:
    """The arithmetic of the generator and of the reward models, as far as their sheets are known, and what is not."""
    wanted = judged_models(config)
    notes: list[str] = []
    if GENERATOR not in wanted:
        notes.append(f"no FLOP: an engine of type {config.engine.type} has no sizes here")
    found: dict[str, ForwardCost] = {}
    for role, model in wanted.items():
        try:
            sheet = model_sheet(str(weights.resolve(model)))
        except BerryError as error:
            notes.append(f"no FLOP of the {role}: {error}")
            continue
        share = sheet.windowed_layers / sheet.layers
        found[role] = ForwardCost(sheet.active_parameters, sheet.attention_width, sheet.window, share)
    return found, notes


def price(config: RunConfig, cluster: str | None, prices: str) -> tuple[Price | None, list[str]]:
    """Tokens a second and dollars an hour of the named cluster, by the plan of this run's work on it, without reward
    models and with each set of them that the run has; and which of these can't be planned there."""
    if cluster is None:
        return None, []
    there = validate({**plain(config), "cluster": cluster}, RunConfig, where="--cluster")
    sheet, bare = price_sheet(prices), workload_of(there)[0]
    planned = plan(bare, there.cluster, sheet, Calibration())
    rates = {frozenset[str](): planned.tokens_per_s}
    notes: list[str] = []
    served = reward_models(config)
    for count in range(1, len(served) + 1):
        for roles in combinations(sorted(served), count):
            uses = tuple(
                RewardUse(name=r, model=str(weights.resolve(served[r])), per="step" if r == "prm" else "trajectory")
                for r in roles
            )
            try:
                work = bare.model_copy(update={"rewards": uses})
                rates[frozenset(roles)] = plan(work, there.cluster, sheet, Calibration()).tokens_per_s
            except ConfigError as error:
                notes.append(f"no seconds where {' and '.join(roles)} read along: {error}")
    return Price(there.cluster.name, rates, planned.usd_per_hour), notes
