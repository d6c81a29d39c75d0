"""Describes a trained model in a JSON file beside its weights: what it was trained on, how well it does.

card.json is written last, so that its presence says that the folder is whole.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from berry.pipeline.errors import InputError
from berry.pipeline.rewards.model.blend import Blend

NAME = "card.json"
ValueWhat = Literal["prm", "orm"]
What = Literal["prm", "orm", "policy"]


@dataclass(frozen=True, slots=True)
class Card:
    """`vocabulary` is the fingerprint of the token ids that it reads (engines.vocabulary); `threshold` is the
    value below which a step counts as wrong, chosen on validation problems; `logit_mean` is to be taken off every logit
    (training on balanced classes has put it on); `blend` joins its value with the engine's log-probabilities. `heldout`
    says how held-out problems are picked, so that later rounds never train on them."""

    what: What
    version: str
    backbone: str
    vocabulary: str
    targets: str = "soft"
    threshold: float = 0.5
    logit_mean: float = 0.0
    blend: Blend | None = None
    runs: tuple[str, ...] = ()
    rounds: tuple[int, ...] = ()
    generator: str = ""
    synthetic: bool = False
    problems: int = 0
    trajectories: int = 0
    labels: int = 0
    positives: float = 0.0  # share, by weight
    heldout: dict[str, Any] = field(default_factory=dict)
    data: str = ""  # digest of the training examples
    config: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of the card's file."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def from_json(text: bytes | str, *, where: str) -> Card:
    """Raises InputError for what is no card of ours."""
    try:
        raw = json.loads(text)
        known = {f.name for f in fields(Card)}
        values = {k: v for k, v in raw.items() if k in known}
        for name in ("runs", "rounds"):
            values[name] = tuple(values.get(name, ()))
        if values.get("blend") is not None:
            values["blend"] = Blend(**values["blend"])
        return Card(**values)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: is no model card: {error}; train the model again with `berry train`") from error


def read_card(folder: str) -> Card | None:
    """The card of one of our models, None for others. Raises InputError for a damaged one."""
    path = Path(folder) / NAME
    return from_json(path.read_bytes(), where=str(path)) if path.is_file() else None
