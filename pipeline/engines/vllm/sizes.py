"""Reads from a model's folder how much memory it takes: its weights, its KV cache, and how long a context it knows."""

from __future__ import annotations

import json
from pathlib import Path

GIB = 1024**3
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def model_context(folder: Path) -> int | None:
    """The longest context the model's config.json allows, in tokens."""
    values = json.loads((folder / "config.json").read_text())
    return values.get("max_position_embeddings") or values.get("text_config", {}).get("max_position_embeddings")


def weight_bytes(folder: Path, dtype: str) -> int:
    """Size of the weights once they are loaded as `dtype`."""
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    stored = stored or sum(file.stat().st_size for file in folder.glob("*.bin"))
    values = json.loads((folder / "config.json").read_text())
    own = values.get("dtype") or values.get("torch_dtype") or "bfloat16"
    return stored * DTYPE_BYTES.get(dtype, DTYPE_BYTES.get(own, 2)) // DTYPE_BYTES.get(own, 2)


def kv_token_bytes(folder: Path, dtype: str) -> int:
    """KV cache of one token over all layers, as if each attended to the whole context: with sliding windows it is the
    most that a token can take."""
    values = json.loads((folder / "config.json").read_text())
    values = values.get("text_config", values)
    own = values.get("dtype") or values.get("torch_dtype") or "bfloat16"
    width = DTYPE_BYTES.get(dtype, DTYPE_BYTES.get(own, 2))
    if latent := values.get("kv_lora_rank"):  # multi-head latent attention: one vector for all heads
        return values["num_hidden_layers"] * (latent + values["qk_rope_head_dim"]) * width
    heads = values["num_attention_heads"]
    head_dim = values.get("head_dim") or values["hidden_size"] // heads
    return 2 * values["num_hidden_layers"] * (values.get("num_key_value_heads") or heads) * head_dim * width


def has_windows(folder: Path) -> bool:
    """Whether some layers keep less than the whole context: `kv_token_bytes` is then no more than a bound."""
    values = json.loads((folder / "config.json").read_text())
    values = values.get("text_config", values)
    windows = values.get("sliding_window") and values.get("use_sliding_window", True)
    return bool(windows) or len(set(values.get("layer_types") or ())) > 1
