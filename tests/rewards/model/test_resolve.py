"""What is looked at of the configured reward models before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.config.sections.rewards import NamedReward, Rewards
from berry.pipeline.errors import ConfigError
from berry.pipeline.rewards.model.card import NAME, Card
from berry.pipeline.rewards.model.resolve import preflight_rewards


@pytest.fixture
def prm(tmp_path: Path) -> str:
    card = Card(what="prm", version="v", backbone="fresh", vocabulary="x")
    for name, text in ((NAME, card.to_json()), ("config.json", "{}"), ("model.safetensors", "")):
        (tmp_path / name).write_text(text)
    return str(tmp_path)


def test_a_named_model_is_of_the_kind_that_it_is_said_to_be(prm: str) -> None:
    preflight_rewards(Rewards(models={"strict": NamedReward(what="prm", model=prm)}))
    with pytest.raises(ConfigError, match=r"rewards.models.strict.model: .* is of the kind prm, not orm"):
        preflight_rewards(Rewards(models={"strict": NamedReward(what="orm", model=prm)}))


def test_the_key_of_a_model_that_is_not_whole_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(ConfigError, match=r"rewards.models.strict.model: .* has not ended"):
        preflight_rewards(Rewards(models={"strict": NamedReward(what="prm", model=str(tmp_path))}))
