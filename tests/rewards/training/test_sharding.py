"""What is divided among processes, and what is read of its checkpoints; two processes that train so are in
tests/runtime/cluster/test_train_together.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from torch import nn
from transformers import AutoModelForCausalLM

from berry.pipeline.config.sections.rewards import Lora
from berry.pipeline.config.sections.rounds import SftTraining
from berry.pipeline.engines import models
from berry.pipeline.rewards.training import sharding
from berry.pipeline.rewards.training.step_trainer import _read_weights


def test_each_block_is_divided_and_a_model_that_names_none_as_one() -> None:
    model = AutoModelForCausalLM.from_pretrained(models.resolve("tiny-arithmetic"))
    assert sharding.layers_of(model) == list(model.model.layers)
    assert sharding.layers_of(nn.Linear(2, 2)) == []


def test_weights_in_several_files_are_read_whole(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(models.resolve("tiny-arithmetic"))
    model.save_pretrained(tmp_path, max_shard_size="2MB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    found = _read_weights(tmp_path)
    assert all(found[name].equal(value) for name, value in model.named_parameters())


def test_dividing_weights_of_which_adapters_alone_are_trained_is_refused() -> None:
    with pytest.raises(ValidationError, match="leave one of them out"):
        SftTraining(sharding="full", lora=Lora())
