"""serving.json: which weights a run's engines and reward models should have now. The one place that says so.

driver, at a round's start ─┐
berry weights push ─────────┴─► serving.json ─► every actor, when it starts and when it is told to look again
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.dataset import RunDir
from berry.pipeline.storage.files import Location

NAME = "serving.json"


@dataclass(frozen=True, slots=True)
class Weights:
    """`folder`: a path, a URL or a model's name; or a folder of the run directory itself ("round=0/weights/prm"), so
    that a run can be moved."""

    folder: str
    version: str


@dataclass(frozen=True, slots=True)
class Serving:
    """None, or a missing name: what the configuration says."""

    round_index: int = 0
    engine: Weights | None = None
    rewards: dict[str, Weights] = field(default_factory=dict)


def place(location: Location, weights: Weights) -> str:
    """Where to load weights from: a path, a URL or a model's name."""
    return location.show(weights.folder) if weights.folder.startswith("round=") else weights.folder


def write(location: Location, serving: Serving) -> None:
    location.put(NAME, json.dumps(asdict(serving), indent=1).encode())


def read(location: Location) -> Serving:
    """What is written, or the configuration's weights in round 0. Raises StorageError for a damaged file."""
    data = location.get(NAME)
    if data is None:
        return Serving()
    try:
        raw = json.loads(data)
        engine = raw["engine"]
        return Serving(
            round_index=int(raw["round_index"]),
            engine=None if engine is None else Weights(**engine),
            rewards={name: Weights(**weights) for name, weights in raw["rewards"].items()},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{location.show(NAME)}: is damaged ({error})") from error


def learned(run: RunDir, round_index: int) -> Serving | None:
    """What serves after this round; None if its learning is not done."""
    data = run.location.get(f"round={round_index}/learned.json")
    if data is None:
        return None
    raw = json.loads(data)
    return Serving(
        round_index=round_index + 1,
        engine=None if raw["engine"] is None else Weights(**raw["engine"]),
        rewards={name: Weights(**w) for name, w in raw["rewards"].items()},
    )
