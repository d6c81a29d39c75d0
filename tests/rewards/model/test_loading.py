from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from berry.pipeline.errors import ConfigError, EngineError, InputError
from berry.pipeline.rewards.model import resolve
from berry.pipeline.rewards.model.card import NAME, Card, read_card
from berry.pipeline.rewards.model.loading import Qwen2ForProcessRewardModel, Qwen2ForRewardModel, begin, load
from berry.pipeline.rewards.serving.scorer import PrefixScorer

SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA: dict[str, Any] = {
    **SMALL,
    "num_key_value_heads": 1,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
IDS = [[5, 6, 7, 8, 9], [5, 6, 7, 3], [5, 6, 7, 8, 9, 11, 12]]


def test_what_is_saved_reads_the_same_here_and_in_transformers_own_class(tiny_model, alone, saved) -> None:
    model, again = tiny_model(3), load(saved(seed=3))
    assert PrefixScorer(again).values(IDS) == pytest.approx([alone(model, ids) for ids in IDS], abs=1e-6)
    with torch.inference_mode():
        logit = again.inner(torch.tensor([IDS[0]])).logits[0, 0]
    assert float(torch.sigmoid(logit)) == pytest.approx(alone(model, IDS[0]), abs=1e-6)


def test_a_language_model_begins_as_a_value_model_that_knows_nothing() -> None:
    model = begin("tests/models/tiny-arithmetic")
    assert PrefixScorer(model).values([[4, 5, 6]]) == [0.5]


@pytest.mark.parametrize(("cls", "outputs"), [(Qwen2ForProcessRewardModel, 2), (Qwen2ForRewardModel, 1)])
def test_published_qwen_reward_models_are_read_as_they_are(tmp_path: Path, cls, outputs) -> None:
    """Same architecture and parameter names as published, small random weights; the head by hand as oracle."""
    torch.manual_seed(0)
    cls(Qwen2Config(**LLAMA)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == [cls.__name__]
    weights = load_file(tmp_path / "model.safetensors")
    assert {"score.0.weight", "score.0.bias", "score.2.weight", "model.embed_tokens.weight"} <= weights.keys()
    assert weights["score.2.weight"].shape[0] == outputs
    model = load(str(tmp_path))
    with torch.inference_mode():
        hidden = model.backbone(torch.tensor([IDS[0]])).last_hidden_state[0, -1]
        inner = torch.relu(hidden @ weights["score.0.weight"].T + weights["score.0.bias"])
        logits = inner @ weights["score.2.weight"].T + weights["score.2.bias"]
    expected = torch.softmax(logits, -1)[1] if outputs == 2 else torch.sigmoid(logits[0])
    assert PrefixScorer(model).values([IDS[0]])[0] == pytest.approx(float(expected), abs=1e-6)


def test_a_published_classifier_with_two_classes_gives_the_share_of_the_second(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = Qwen2ForSequenceClassification(Qwen2Config(**LLAMA, num_labels=2)).eval()  # pyright: ignore[reportCallIssue]
    own.save_pretrained(tmp_path)
    values = PrefixScorer(load(str(tmp_path))).values(IDS)
    with torch.inference_mode():
        expected = [float(torch.softmax(own(torch.tensor([ids])).logits[0], -1)[1]) for ids in IDS]
    assert values == pytest.approx(expected, abs=1e-6)


def test_an_encoder_is_read_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = BertForSequenceClassification(BertConfig(**SMALL, num_labels=1)).eval()  # pyright: ignore[reportCallIssue]
    own.save_pretrained(tmp_path)
    model = load(str(tmp_path))
    assert not model.causal
    with torch.inference_mode():
        expected = [float(torch.sigmoid(own(torch.tensor([ids])).logits[0, 0])) for ids in IDS]
    assert PrefixScorer(model).values(IDS) == pytest.approx(expected, abs=1e-5)


def test_a_language_model_answers_step_tags_with_its_good_and_bad_token(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = LlamaForCausalLM(LlamaConfig(**LLAMA)).eval()
    own.save_pretrained(tmp_path)
    values = PrefixScorer(load(str(tmp_path), tags=(7, 11))).values(IDS)
    with torch.inference_mode():
        logits = [own(torch.tensor([ids])).logits[0, -1] for ids in IDS]
    assert values == pytest.approx([float(torch.softmax(x[[7, 11]], -1)[1]) for x in logits], abs=1e-6)


def test_the_mean_on_a_card_is_taken_off_the_logits(saved, alone) -> None:
    folder = saved()
    before = PrefixScorer(load(folder)).values([IDS[0]])[0]
    card = Card(what="prm", version="v", backbone="fresh", vocabulary="x", logit_mean=1.5)
    (Path(folder) / NAME).write_text(card.to_json())
    assert read_card(folder) == card
    after = PrefixScorer(load(folder)).values([IDS[0]])[0]
    logit = torch.logit(torch.tensor([before, after], dtype=torch.float64))
    assert float(logit[0] - logit[1]) == pytest.approx(1.5, abs=1e-4)


# ---- bad input -----------------------------------------------------------------------------------------------------


def test_weights_of_another_shape_are_refused_by_name(saved) -> None:
    folder = Path(saved())
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"layers\.0\.mlp\.up_proj\.weight has another shape"):
        load(str(folder))


def test_a_missing_head_is_refused_by_name(saved) -> None:
    folder = Path(saved())
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"score\.weight is missing"):
        load(str(folder))


def test_half_written_weights_are_an_error_of_their_own(saved) -> None:
    folder = Path(saved())
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EngineError, match="can't be loaded"):
        load(str(folder))


def test_a_language_model_is_no_reward_model() -> None:
    with pytest.raises(ConfigError, match="LlamaForCausalLM, which is no reward model"):
        load("tests/models/tiny-arithmetic")


def test_an_encoder_is_no_backbone(tmp_path: Path) -> None:
    BertForSequenceClassification(BertConfig(**SMALL)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no causal language model"):
        begin(str(tmp_path))


def test_a_training_that_has_not_ended_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-10").mkdir()
    with pytest.raises(ConfigError, match="has not ended"):
        resolve.resolve(str(tmp_path), key="rewards.prm.model")


def test_a_damaged_card_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"what": "prm"')
    with pytest.raises(InputError, match="no model card"):
        read_card(str(tmp_path))
