"""Models in the shapes of models that labs know, with random weights, made on the spot: speed does not depend on what
the weights are. The tokenizer is SmolLM2's, its vocabulary filled up with words that no text has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from part import Here

VOCABULARY = 151_936
SHAPES: dict[str, dict[str, Any]] = {  # their config.json
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
    "qwen3-8b": {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": False,
    },
}


def made(name: str, here: Here) -> str:
    """The model's folder, made where it is missing; on cores with fewer layers and of the smaller one's width."""
    shape, layers = dict(SHAPES[name]), here.sizes.layers
    if layers is not None:
        shape |= {key: SHAPES["qwen2.5-0.5b"][key] for key in ("hidden_size", "intermediate_size")}
        shape["num_hidden_layers"] = layers
    folder = here.work / "models" / f"{name}-{shape['num_hidden_layers']}-layers"
    if not (folder / "config.json").is_file():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _tokenizer(partial)
        _weights(shape, partial, "cuda" if here.on_gpu else "cpu")
        partial.rename(folder)
    return str(folder)


def _weights(shape: dict[str, Any], folder: Path, device: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {key: value for key, value in shape.items() if key != "model_type"}
    config = AutoConfig.for_model(
        shape["model_type"], **values, vocab_size=VOCABULARY, rope_theta=1e6, eos_token_id=2, pad_token_id=2
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="4GB")


def _tokenizer(folder: Path) -> None:
    from berry.pipeline.engines import models

    source = Path(models.resolve("smollm2-135m"))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        if (source / name).is_file():
            shutil.copy(source / name, folder)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words |= {f"\N{LATIN SMALL LETTER B WITH TOPBAR}{token}": token for token in range(len(words), VOCABULARY)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
