"""Loads value models: ours, published ones of the same roles, and new ones made from a language model.

    load(folder)     sequence classifiers (ours among them), Qwen2's process and outcome reward models, and with
                     `tags` language models that answer a step tag with a good or a bad token
    begin(folder)    a language model whose output layer becomes one number, zero at first: every value 0.5
    fresh(size, …)   a small transformer with random weights

Ours are saved in transformers' own layout for sequence classifiers, so that vLLM and others read them too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model, Qwen2PreTrainedModel

from berry.pipeline.config.sections.rewards import FreshBackbone
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.rewards.model.card import read_card
from berry.pipeline.rewards.model.quiet import quiet_transformers
from berry.pipeline.rewards.model.value_model import ValueModel

DTYPES = {"auto": "auto", "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_ENCODERS = ("bert", "roberta", "xlm-roberta", "electra", "camembert", "ernie", "deberta", "deberta-v2")


class Qwen2ForRewardModel(Qwen2PreTrainedModel):
    """Published ORM architecture: a two-layer head with one output (Qwen2.5-Math-RM)."""

    base_model_prefix = "model"
    outputs = 1

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        hidden = config.hidden_size
        self.score = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, self.outputs))
        self.post_init()


class Qwen2ForProcessRewardModel(Qwen2ForRewardModel):
    """Published PRM architecture: two classes at each step tag (Qwen2.5-Math-PRM)."""

    outputs = 2


_PUBLISHED = {c.__name__: c for c in (Qwen2ForRewardModel, Qwen2ForProcessRewardModel)}


class TagAnswers(nn.Module):
    """A language model read at a step tag: the logits of its bad and its good answer (Math-Shepherd's PRM)."""

    base_model_prefix = "backbone"

    def __init__(self, language_model: Any, *, bad_id: int, good_id: int) -> None:
        super().__init__()
        self.config = language_model.config
        self.backbone = language_model.base_model
        rows = language_model.get_output_embeddings().weight.detach()[[bad_id, good_id]].clone()
        self.score = nn.Linear(rows.shape[1], 2, bias=False, dtype=rows.dtype)
        self.score.weight = nn.Parameter(rows)


def load(
    folder: str,
    *,
    dtype: str = "auto",
    activation: str = "sigmoid",
    tags: tuple[int, int] | None = None,
) -> ValueModel:
    """`tags`: token ids of the bad and the good answer, for language models. Raises ConfigError for what is no reward
    model, EngineError for weights that do not fit or are damaged."""
    architecture = _architecture(folder)
    if tags is not None:
        model = _read(AutoModelForCausalLM, folder, dtype)
        return ValueModel(TagAnswers(model, bad_id=tags[0], good_id=tags[1]))
    if architecture in _PUBLISHED:
        return ValueModel(_read(_PUBLISHED[architecture], folder, dtype), activation=activation)
    if not architecture.endswith("ForSequenceClassification"):
        raise ConfigError(
            f"{folder} holds a {architecture}, which is no reward model: give a sequence classifier, "
            f"{' or '.join(_PUBLISHED)}, or set step_tag.good and step_tag.bad for a language model"
        )
    inner = _read(AutoModelForSequenceClassification, folder, dtype)
    if inner.config.num_labels > 2:
        raise ConfigError(f"{folder} tells {inner.config.num_labels} classes apart; a reward model has one or two")
    model = ValueModel(inner, causal=_is_causal(inner), activation=activation)
    card = read_card(folder)
    if card is not None:
        model.logit_mean = card.logit_mean
    return model


def begin(folder: str, *, dtype: str = "float32") -> ValueModel:
    """Raises ConfigError for a backbone that has no sequence classifier in transformers."""
    config = AutoConfig.from_pretrained(folder)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or config.model_type in _ENCODERS:
        raise ConfigError(f"backbone {folder} ({config.model_type}) is no causal language model")
    inner = _read(AutoModelForSequenceClassification, folder, dtype, expect_head=False, num_labels=1)
    if inner.config.get_text_config().pad_token_id is None:
        eos = inner.config.get_text_config().eos_token_id
        inner.config.get_text_config().pad_token_id = eos[0] if isinstance(eos, list) else eos
    model = ValueModel(inner, causal=_is_causal(inner))
    if not model.causal:
        raise ConfigError(f"backbone {folder} ({config.model_type}) can't be read prefix by prefix; take a causal one")
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
    return model


def fresh(size: FreshBackbone, *, vocabulary_size: int, seed: int, pad_id: int = 0) -> ValueModel:
    """Makes a model of that size with random weights, the same for the same seed; the global random state stays as it
    was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=vocabulary_size,
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=size.max_tokens,
            pad_token_id=pad_id,
            bos_token_id=None,
            eos_token_id=None,
            dtype="float32",
        )
        config.num_labels = 1
        inner = AutoModelForSequenceClassification.from_config(config)
    return ValueModel(inner)


def _architecture(folder: str) -> str:
    path = Path(folder)
    if path.is_dir():
        try:
            names = json.loads((path / "config.json").read_text()).get("architectures")
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigError(f"{folder} holds no model: its config.json can't be read ({error})") from error
    else:
        try:
            names = AutoConfig.from_pretrained(folder).architectures
        except (OSError, ValueError) as error:
            raise ConfigError(f"no reward model {folder!r}: {str(error).splitlines()[0]}") from error
    if not names:
        raise ConfigError(f"{folder}/config.json does not name its architecture: is it a whole model?")
    return str(names[0])


def _read(cls: Any, folder: str, dtype: str, *, expect_head: bool = True, **options: Any) -> Any:
    try:
        with quiet_transformers():
            model, info = cls.from_pretrained(
                folder, dtype=DTYPES[dtype], output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
    except ValueError as error:
        raise ConfigError(f"{folder} can't be a reward model: {str(error).splitlines()[0]}") from error
    except (OSError, SafetensorError, RuntimeError) as error:
        raise EngineError(f"the weights in {folder} can't be loaded: {str(error).splitlines()[0]}") from error
    misshapen = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"])
    heads = ("score.", "classifier.")
    missing = sorted(k for k in info["missing_keys"] if expect_head or not k.startswith(heads))
    if misshapen or missing:
        what = f"{misshapen[0]} has another shape than config.json says" if misshapen else f"{missing[0]} is missing"
        more = len(misshapen) + len(missing) - 1
        raise EngineError(
            f"the weights in {folder} do not fit the model: {what}" + (f" (and {more} more)" if more else "")
        )
    return model


def _is_causal(inner: Any) -> bool:
    kind = inner.config.model_type
    return hasattr(inner, "score") and kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in _ENCODERS
