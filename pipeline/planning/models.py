"""Reads model sheets: the sizes that cost follows from, out of a Hugging Face `config.json`.

configs/models/NAME.yaml | folder | config.json ─► ModelSheet (parameters, KV values and attention work a
token)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berry.pipeline.config.reading.loading import read_yaml
from berry.pipeline.config.reading.shipped import names, shipped
from berry.pipeline.errors import ConfigError

_PATTERNS = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}  # where config.json leaves it to transformers


@dataclass(frozen=True, slots=True)
class ModelSheet:
    """A decoder-only transformer. `parameters` in all, `active_parameters` used for one token (fewer in a
    mixture of experts), `kv_values` numbers kept in the KV cache for one token over all layers,
    `attention_width` the sum over layers of heads × head size (what attention work grows with). `window`:
    tokens that `windowed_layers` of the layers look back, the others without limit. `latent`: keys and values are one
    latent vector for all heads (multi-head latent attention). `expert_share`: share of the routed experts that one
    token passes (1: no experts)."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    parameters: float
    active_parameters: float
    kv_values: int
    attention_width: int
    window: int | None = None
    windowed_layers: int = 0
    latent: bool = False
    expert_share: float = 1.0

    def kv_copies(self, devices: float) -> float:
        """Computes how often tensor-parallel devices hold the KV cache between them: heads are divided among them as
        far as they go, and a latent vector, which belongs to all heads, is held by each (as vLLM does)."""
        return max(1.0, devices / (1 if self.latent else self.kv_heads))

    def looked_back(self, length: float) -> float:
        """Tokens that a layer looks back on average over `length`, which is also what it keeps of them: engines give up
        what lies before a layer's window."""
        if self.window is None:
            return length
        share = self.windowed_layers / self.layers
        return (1 - share) * length + share * min(length, self.window)


def model_sheet(name: str, base: Path | None = None) -> ModelSheet:
    """Reads a shipped sheet by its name or by the Hugging Face id that it is of (`llama-3.1-8b`, `Qwen/Qwen3-8B`), a
    `config.json`, or a folder that holds one. Raises ConfigError."""
    known = _shipped_name(name)
    if known is not None:
        path = shipped("models", known)
        return from_hf(read_yaml(path)["config"], name=known, where=str(path))
    path = (base or Path()) / name
    if path.is_dir():
        path = path / "config.json"
    if path.suffix == ".json" and path.is_file():
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path}: is not valid JSON: {error}") from error
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: must hold a JSON object, got a {type(raw).__name__}")
        return from_hf(raw, name=path.parent.name or path.stem, where=str(path))
    sheets = ", ".join(names("models"))
    raise ConfigError(
        f"model {name!r}: neither a shipped sheet ({sheets}) nor a config.json or a folder with one. "
        f"Give the path of the model's config.json"
    )


def _shipped_name(name: str) -> str | None:
    """The shipped sheet of that name, or of the model with that Hugging Face id; None where there is none."""
    sheets = names("models")
    if name in sheets:
        return name
    if name.count("/") != 1:
        return None
    return next((sheet for sheet in sheets if name in read_yaml(shipped("models", sheet)).get("huggingface", ())), None)


def from_hf(config: Mapping[str, Any], *, name: str, where: str = "config") -> ModelSheet:
    """Makes the sheet of a Llama-like, mixture-of-experts (Mixtral, Qwen-MoE) or DeepSeek-V2/V3 configuration.

    Norms and biases are left out (below 0.1% of the parameters). Raises ConfigError that names a missing
    key.
    """
    if isinstance(config.get("text_config"), dict):
        config = config["text_config"]
    hidden = _positive(config, where, "hidden_size")
    layers = _positive(config, where, "num_hidden_layers", "n_layer")
    heads = _positive(config, where, "num_attention_heads", "n_head")
    kv_heads = int(config.get("num_key_value_heads") or heads)
    vocabulary = _positive(config, where, "vocab_size")
    head_size = int(config.get("head_dim") or hidden // heads)
    if heads % kv_heads:
        raise ConfigError(f"{where}: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    if config.get("kv_lora_rank"):
        attention, kv_per_layer, width = _latent_attention(config, where, hidden, heads)
    else:
        attention = hidden * head_size * (2 * heads + 2 * kv_heads)
        kv_per_layer, width = 2 * kv_heads * head_size, heads * head_size
    mlp_all, mlp_active, expert_share = _mlps(config, where, hidden, layers)
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    shared = embeddings + layers * attention
    windowed = _windowed_layers(config, layers)
    return ModelSheet(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        parameters=shared + mlp_all,
        active_parameters=shared + mlp_active,
        kv_values=layers * kv_per_layer,
        attention_width=layers * width,
        window=int(config["sliding_window"]) if windowed else None,
        windowed_layers=windowed,
        latent=bool(config.get("kv_lora_rank")),
        expert_share=expert_share,
    )


def _windowed_layers(config: Mapping[str, Any], layers: int) -> int:
    """Counts the layers whose attention looks back `sliding_window` tokens only: as listed, by a pattern (one in so
    many looks back without limit), from a layer on, or all."""
    if not config.get("sliding_window") or not config.get("use_sliding_window", True):
        return 0
    kinds = config.get("layer_types")
    if kinds:
        return sum(kind == "sliding_attention" for kind in kinds)
    pattern = config.get("sliding_window_pattern") or _PATTERNS.get(str(config.get("model_type")))
    if isinstance(pattern, int) and pattern > 0:
        return layers - layers // pattern
    if config.get("max_window_layers") is not None:
        return max(0, layers - int(config["max_window_layers"]))
    return layers


def _latent_attention(config: Mapping[str, Any], where: str, hidden: int, heads: int) -> tuple[int, int, int]:
    """Counts multi-head latent attention (DeepSeek-V2, 2024): parameters a layer, KV values a layer, attention
    width.

    The cache keeps one latent vector and one rotary key for all heads; in decoding queries and values
    work in the latent space, hence the width heads × (latent + rotary/2).
    """
    latent = _positive(config, where, "kv_lora_rank")
    rope = _positive(config, where, "qk_rope_head_dim")
    nope = _positive(config, where, "qk_nope_head_dim")
    value = _positive(config, where, "v_head_dim")
    query_rank = config.get("q_lora_rank")
    query = heads * (nope + rope)
    queries = query_rank * (hidden + query) if query_rank else hidden * query
    keys = hidden * (latent + rope) + latent * heads * (nope + value)
    return queries + keys + heads * value * hidden, latent + rope, heads * (latent + rope // 2)


def _mlps(config: Mapping[str, Any], where: str, hidden: int, layers: int) -> tuple[int, int, float]:
    """Counts the parameters of all gated MLPs, those that one token passes, and the share of experts it passes."""
    dense = 3 * hidden * _positive(config, where, "intermediate_size")
    experts = config.get("n_routed_experts") or config.get("num_local_experts") or config.get("num_experts")
    if not experts:
        return layers * dense, layers * dense, 1.0
    chosen = _positive(config, where, "num_experts_per_tok", "num_experts_per_token")
    one = 3 * hidden * int(config.get("moe_intermediate_size") or config["intermediate_size"])
    always = one * int(config.get("n_shared_experts") or 0)
    first_dense = int(config.get("first_k_dense_replace") or 0)
    sparse, router = layers - first_dense, hidden * int(experts)
    total = first_dense * dense + sparse * (one * int(experts) + always + router)
    active = first_dense * dense + sparse * (one * chosen + always + router)
    return total, active, chosen / int(experts)


def _positive(config: Mapping[str, Any], where: str, *keys: str) -> int:
    for key in keys:
        if config.get(key) is not None:
            value = config[key]
            if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
                raise ConfigError(f"{where}: {key} must be a number above 0, got {value!r}")
            return int(value)
    raise ConfigError(f"{where}: {keys[0]} is missing; the plan needs it to size weights and KV cache")
