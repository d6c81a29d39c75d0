"""Draws a share of a lease's trajectories whose log-probabilities are to be computed again, and compares the two.

committed shards ─► samples ─► an engine's log-probabilities ─► gap (nats a token)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from berry.pipeline.records import ASSISTANT
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet.lease_rows import read_lease

OUTSIDE_NATS = -20.0


@dataclass(frozen=True, slots=True)
class LogprobSample:
    """A trajectory that one engine made with one version of its weights. `segments`: tokens and stored sum of each."""

    trajectory_id: str
    engine_id: str
    weights_version: str
    prompt_ids: list[int]
    response_ids: list[int]
    segments: list[tuple[int, float | None]]


def drawn(trajectory_id: str, share: float) -> bool:
    """Draws trajectories to recompute, the same whoever asks."""
    number = int.from_bytes(blake2b(trajectory_id.encode(), digest_size=8, person=b"recompute").digest(), "big")
    return number < share * 2**64


def samples(location: Location, lease: int, round_index: int, *, share: float) -> Iterator[LogprobSample]:
    """Reads what is to be recomputed of one committed lease. Trajectories that several engines made, after a crash,
    are left out. Raises
    StorageError."""
    stored = read_lease(location, lease, round_index)
    chosen = [r for r in stored.trajectories if drawn(r["trajectory_id"], share)]
    if not chosen:
        return
    nodes = {(n["problem_id"], n["node_id"]): n for n in stored.nodes}
    roots = {p: n for (p, _), n in nodes.items() if n["parent_id"] is None}
    for row in chosen:
        path = [nodes[row["problem_id"], n] for n in row["path"]]
        path = [n for n in path if n["parent_id"] is not None and n["token_ids"]]
        sampled = [n for n in path if n["role"] in (None, ASSISTANT)]
        makers = {(n["engine_id"], n["weights_version"]) for n in sampled}
        if len(makers) != 1 or any(n["logprob_sum"] is None for n in sampled):
            continue
        [(engine_id, version)] = makers
        yield LogprobSample(
            trajectory_id=row["trajectory_id"],
            engine_id=engine_id,
            weights_version=version,
            prompt_ids=list(roots[row["problem_id"]]["token_ids"]),
            response_ids=[t for n in path for t in n["token_ids"]],
            segments=[
                (len(n["token_ids"]), n["logprob_sum"] if n["role"] in (None, ASSISTANT) else None) for n in path
            ],
        )


def gap(sample: LogprobSample, logprobs: Sequence[float]) -> float:
    """Nats a token between what is stored and `logprobs` of the response's tokens. One that falls outside of top-p or
    top-k when computed again, as numerics make happen at the edge, counts as `OUTSIDE_NATS`."""
    start, compared, total = 0, 0, 0.0
    for count, stored in sample.segments:
        if stored is not None:
            total += abs(sum(max(x, OUTSIDE_NATS) for x in logprobs[start : start + count]) - stored)
            compared += count
        start += count
    return total / max(compared, 1)
