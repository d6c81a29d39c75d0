"""Adds up a whole run: trajectories, tokens, FLOP, bytes, hours and dollars."""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.config.plan import Calibration, Workload
from berry.pipeline.config.sections.cluster import Cluster
from berry.pipeline.core.placement import Placement
from berry.pipeline.core.search.trial import TreeShape
from berry.pipeline.planning.formulas import roofline
from berry.pipeline.planning.models import model_sheet
from berry.pipeline.planning.sheets import Prices
from berry.pipeline.planning.tool_calls import ToolLoad
from berry.pipeline.planning.tree_shape import Sharing

TOKEN_BYTES, LOGPROB_BYTES = 1.8, 3.6
"""A token's id and its text, and its log-probability, in merged files. Texts of a model in its own tokens: GSM8K's
solutions in SmolLM2's, one response a problem (`python -P tests/benchmarks/at_rest.py --texts`, 29 November 2026).
Nodes hold each token once; kept rows hold those of whole responses again, of which siblings' beginnings take less."""
NODE_BYTES, TRAJECTORY_BYTES, KEPT_BYTES = 54.0, 27.0, 227.0
"""All other columns of a row, prompts of 92 tokens among them, from the same run."""
WIRE_BYTES_PER_TOKEN = 4.0  # response text to a sandbox


@dataclass(frozen=True, slots=True)
class WorkTotals:
    """A whole run. FLOP are forward only: 2 × active parameters × tokens, and attention."""

    trajectories: float
    tokens: float
    prefill_tokens: float
    flop: float
    storage_bytes: float
    hours: float
    usd: float | None
    gpu_hours: float


def storage_bytes_per_trajectory(w: Workload, tree: TreeShape, calibration: Calibration) -> float:
    """Computes the Parquet bytes for one trajectory with its share of the tree, kept rows included."""
    a_token = TOKEN_BYTES + LOGPROB_BYTES
    nodes = (tree.generated * a_token + tree.sequences * NODE_BYTES) / tree.leaves
    kept = w.kept * (w.output_tokens * a_token + KEPT_BYTES)
    return (nodes + TRAJECTORY_BYTES + kept) * calibration.bytes_scale


def usd_per_hour(cluster: Cluster, prices: Prices | None) -> float | None:
    total = 0.0
    for node in cluster.nodes.values():
        each = node.usd_per_hour
        if each is None and prices is not None:
            if node.gpus:
                one = prices.accelerator_hour.get(node.accelerator or "")
                each = None if one is None else one * node.gpus
            elif prices.core_hour is not None:
                each = prices.core_hour * node.cores
        if each is None:
            return None
        total += each * node.count
    return total


def totals(
    w: Workload,
    tree: TreeShape,
    shared: Sharing,
    rate: float,
    stored: float,
    usd: float | None,
    placed: Placement,
    tools: ToolLoad,
) -> WorkTotals:
    trajectories = w.problems * tree.leaves
    tokens = w.problems * tree.generated * tools.sampled_share
    prefill = w.problems * shared.prefill + trajectories * tools.given
    hours = trajectories / rate / 3600
    return WorkTotals(
        trajectories=trajectories,
        tokens=tokens,
        prefill_tokens=prefill,
        flop=(tokens + prefill) * roofline.token_flops(model_sheet(w.model), shared.context) if w.model else 0.0,
        storage_bytes=trajectories * stored,
        hours=hours,
        usd=None if usd is None else usd * hours,
        gpu_hours=hours * placed.gpus,
    )
