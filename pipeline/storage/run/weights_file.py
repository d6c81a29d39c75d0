"""Reads and writes weights.json: which weights a run's engines and reward models are to have now.

driver, at a round's start ─┐
berry weights push ─────────┴─► weights.json ─► every actor, when it starts and when it is told to look again

Version 0.1.0 called the file serving.json. It is still read, with a notice, and replaced by the next write.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

from berry.pipeline.config.sections.rounds import Rounds
from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.run.directory import RunDir

NAME = "weights.json"
OLD_NAME = "serving.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """One model's weights. `folder`: a path, a URL or a model's name; or a folder of the run directory itself
    ("round=0/weights/prm"), so that a run can be moved."""

    folder: str
    version: str


@dataclass(frozen=True, slots=True)
class RunWeights:
    """The weights that a run's models are to have: the one engine's, those of each of several `engines`, and of reward
    models. `engine` None, or a name that `engines` or `rewards` lacks: what the configuration says."""

    round_index: int = 0
    engine: Weights | None = None
    rewards: dict[str, Weights] = field(default_factory=dict)
    engines: dict[str, Weights] = field(default_factory=dict)

    def of_engine(self, name: str) -> Weights | None:
        """Those of one of several engines, or of the only one, whose name is ""; None: what the configuration says."""
        return self.engines.get(name) if name else self.engine


def address(location: Location, weights: Weights) -> str:
    """Where to load weights from: a path, a URL or a model's name."""
    return location.show(weights.folder) if weights.folder.startswith("round=") else weights.folder


def write_weights(location: Location, weights: RunWeights) -> None:
    """Writes the file, and removes one of the former name. Raises StorageError."""
    location.put(NAME, json.dumps(asdict(weights), indent=1).encode())
    location.remove(OLD_NAME)


def read_weights(location: Location) -> RunWeights:
    """What is written, or the configuration's weights in round 0. Raises StorageError for a damaged file."""
    name, data = NAME, location.get(NAME)
    if data is None:
        name, data = OLD_NAME, location.get(OLD_NAME)
        if data is None:
            return RunWeights()
        _notice(location.show(OLD_NAME))
    try:
        raw = json.loads(data)
        return RunWeights(int(raw["round_index"]), _engine(raw), _named(raw, "rewards"), _named(raw, "engines"))
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{location.show(name)}: is damaged ({error})") from error


def weights_after(run: RunDir, round_index: int) -> RunWeights | None:
    """The weights that a round's training ended with; None if it is not done."""
    data = run.location.get(f"round={round_index}/learned.json")
    if data is None:
        return None
    raw = json.loads(data)
    return RunWeights(round_index + 1, _engine(raw), _named(raw, "rewards"))


def trainings_of_round(run: RunDir, round_index: int) -> int:
    """How many trainings the weights that a round is made with have been through."""
    stored = (run.config() or {}).get("rounds") or {}
    overlap = {key: stored[key] for key in ("overlap", "max_staleness") if key in stored}
    return Rounds.model_validate(overlap).trainings_behind(round_index)


def weights_of_round(run: RunDir, round_index: int) -> RunWeights | None:
    """The weights that a round is made with: of the training before it, or of an earlier one where rounds overlap with
    trainings. None while that training is not done."""
    trainings = trainings_of_round(run, round_index)
    after = weights_after(run, trainings - 1) if trainings else RunWeights()
    return None if after is None else replace(after, round_index=round_index)


def _engine(raw: dict[str, dict[str, str] | None]) -> Weights | None:
    return None if raw["engine"] is None else Weights(**raw["engine"])


def _named(raw: dict[str, dict[str, dict[str, str]]], what: str) -> dict[str, Weights]:
    """Files of earlier versions name no engines."""
    return {name: Weights(**weights) for name, weights in raw.get(what, {}).items()}


@lru_cache(maxsize=64)
def _notice(where: str) -> None:
    """Once for each run."""
    log.warning("%s: is read as %s, which is its name since version 0.2.0", where, NAME)
