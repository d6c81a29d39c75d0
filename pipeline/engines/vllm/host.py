"""Prepares a host for a vLLM engine: environment variables set before vLLM is imported, memory, engine arguments.

environment(config) ─► {name: value}        put into the process (or a Ray runtime_env) before the engine starts
preflight(config)   ─► None or an error     nothing is started, nothing is imported that takes long
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil

from berry.pipeline import cgroup
from berry.pipeline.config.sections.engine import GPU_NUM_SEQS, VllmEngine
from berry.pipeline.config.sections.gpu_memory import USED
from berry.pipeline.engines import adapters, models
from berry.pipeline.engines.vllm import compat, gpu
from berry.pipeline.engines.vllm.sizes import GIB, kv_token_bytes, model_context, weight_bytes
from berry.pipeline.errors import ConfigError, ResourceError

OVERHEAD_BYTES = int(1.75 * GIB)  # measured: 0.75 the process around the engine, 1.0 the engine's own, without weights
GPU_BLOCK_TOKENS = 16
CPU_BLOCK_TOKENS = 32  # the kernels on cores want multiples of 32
GPU_BATCHED_TOKENS = 8192  # a step; vLLM's own default for an engine in a process is 2,048 on some GPUs
GPU_CAPTURED_TOKENS = 1024  # CUDA graphs: a step of max_num_seqs sequences with a prefill stays within
QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


GPU_ENVIRONMENT = {
    # Its sampler is compiled at first use, for which nvcc must be there, and gives no log-probabilities of what it
    # leaves over: with processed_logprobs vLLM never calls it.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}


def device_here() -> compat.Device:
    """What the vLLM that is installed here runs on. Raises ResourceError where there is none."""
    return compat.installed().device


def environment(config: VllmEngine, device: compat.Device) -> dict[str, str]:
    """Variables for the engine's process, in force only if set before it imports vLLM. Made in that process: threads
    are counted there."""
    return QUIET | (cpu_environment(threads(config)) if device == "cpu" else GPU_ENVIRONMENT)


def cpu_environment(threads: int) -> dict[str, str]:
    """The part that only an engine on cores needs."""
    return {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the `uni` executor; `mp` would bind half of the cores
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads starve beside sandboxes
    }


def block_size(config: VllmEngine, device: compat.Device) -> int:
    """Tokens a block of the prefix cache."""
    return config.block_size or (CPU_BLOCK_TOKENS if device == "cpu" else GPU_BLOCK_TOKENS)


def gpu_share(config: VllmEngine) -> float:
    """Share of each GPU's memory that an engine takes; a run fills it in from its roles
    (`RunConfig.engine_on_its_share`)."""
    return USED if config.gpu_memory_utilization is None else config.gpu_memory_utilization


def num_seqs(config: VllmEngine, folder: str, device: compat.Device) -> int:
    """Sequences decoded at once: engine.max_num_seqs, or what `auto` stands for. On GPUs the larger number where the KV
    cache holds so many sequences of half the context."""
    planned = config.planned_num_seqs(on_gpus=device == "gpu")
    if config.max_num_seqs != "auto" or device == "cpu" or not Path(folder).is_dir():
        return planned
    few, many = GPU_NUM_SEQS
    usable = config.parts * gpu_share(config) * compat.gpu_memory_bytes()
    cache = usable - weight_bytes(Path(folder), config.dtype)
    needed = many * config.max_model_len / 2 * kv_token_bytes(Path(folder), config.dtype)
    return many if cache >= needed else few


def engine_arguments(
    config: VllmEngine, folder: str, device: compat.Device, seqs: int, *, nodes: int = 1
) -> dict[str, Any]:
    """vLLM's engine arguments for the model in `folder` (or of that Hugging Face id), at `seqs` sequences at once, on
    so many `nodes`."""
    on_cores = device == "cpu"
    eager = on_cores if config.enforce_eager == "auto" else config.enforce_eager
    chunked = not on_cores if config.chunked_prefill == "auto" else config.chunked_prefill
    arguments: dict[str, Any] = {
        "model": folder,
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "max_num_seqs": seqs,
        "enable_prefix_caching": config.prefix_caching,
        "enforce_eager": eager,
        "enable_chunked_prefill": chunked,
        "tensor_parallel_size": config.tensor_parallel_size,
        "pipeline_parallel_size": config.pipeline_parallel_size,
        "scheduling_policy": "priority",
        "generation_config": "vllm",  # what the model's folder suggests for sampling is ours to decide
        "disable_log_stats": True,
        "logprobs_mode": "processed_logprobs",  # of the distribution that tokens are drawn from
        "worker_extension_cls": compat.EXTENSION,
        "use_tqdm_on_load": False,
    }
    if on_cores:
        arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gib * GIB)
        arguments["block_size"] = block_size(config, device)
        arguments["distributed_executor_backend"] = "uni"
    else:
        arguments["gpu_memory_utilization"] = gpu_share(config)
        arguments["max_num_batched_tokens"] = max(GPU_BATCHED_TOKENS, seqs)
        if config.block_size is not None:
            arguments["block_size"] = config.block_size
        if not eager and seqs >= GPU_NUM_SEQS[0]:
            arguments["max_cudagraph_capture_size"] = GPU_CAPTURED_TOKENS
        if config.parts > 1:
            arguments["distributed_executor_backend"] = "mp"  # inside a placement group the default is `ray`
    if nodes > 1:
        arguments["distributed_executor_backend"] = compat.executor_over_nodes()
    if not chunked:
        least = 2048 if on_cores else GPU_BATCHED_TOKENS
        arguments["max_num_batched_tokens"] = max(config.max_model_len, least, seqs)
    if not config.reproducible:
        arguments["seed"] = int.from_bytes(os.urandom(4)) >> 1  # else replicas, and an engine started again, draw alike
    if config.adapter is not None:
        rank = adapters.engine_rank(adapters.resolve(config.adapter, key="engine.adapter"))
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    return arguments | config.extra


def threads(config: VllmEngine) -> int:
    """Threads for the CPU engine: those configured, else as many as this process has cores."""
    return config.threads or len(os.sched_getaffinity(0))


def with_fast_dtype(config: VllmEngine, device: compat.Device) -> VllmEngine:
    """`config` with float32 for `dtype: auto` on cores that multiply 16-bit numbers one by one, where a step takes
    about twenty times as long as in float32."""
    if config.dtype == "auto" and device == "cpu" and not multiplies_16_bit(_cpu_flags()):
        return config.model_copy(update={"dtype": "float32"})
    return config


def multiplies_16_bit(flags: frozenset[str]) -> bool:
    """Whether PyTorch's matrix kernels (oneDNN) take bfloat16 on a processor of these feature flags: AVX-512 with its
    byte, word and vector-length parts, or the bfloat16 instructions of ARM. Unknown flags count as yes."""
    return not flags or {"avx512bw", "avx512dq", "avx512vl"} <= flags or "bf16" in flags


def _cpu_flags() -> frozenset[str]:
    """Feature flags of the first processor; empty where the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    listed = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(listed, "").split())


def preflight(config: VllmEngine, *, device: compat.Device | None = None, nodes: int = 1) -> None:
    """Raises ConfigError or ResourceError, with the remedy, for what would fail minutes later. `device` None: that of
    the vLLM that is installed here; `nodes`: that the engine is spread over."""
    if device is None:
        device = device_here()
    config = with_fast_dtype(config, device)
    _check_settings(config, device, nodes)
    if config.adapter is not None:
        adapters.resolve(config.adapter, key="engine.adapter")
    folder = Path(models.resolve(config.model))
    if not folder.is_dir():
        return  # a Hugging Face id: its size is known once it is fetched
    longest = model_context(folder)
    if longest is not None and config.max_model_len > longest:
        raise ConfigError(
            f"engine.max_model_len {config.max_model_len} is more than {config.model} was made for: "
            f"set it to at most {longest}"
        )
    if device == "cpu":
        _check_memory(config, folder)


def check_gpus(config: VllmEngine, device: compat.Device, *, nodes: int = 1) -> None:
    """Raises ConfigError or ResourceError for what would fail on this host's GPUs (`gpu.check`); to be called in the
    process that has them. Waits where something that ends still holds their memory. An engine over several nodes has
    none in its own process: its parts say themselves what fails."""
    if device == "gpu" and nodes > 1:
        gpu.check_compiler()
    elif device == "gpu":
        folder = Path(models.resolve(config.model))
        gpu.check(config, gpu_share(config), folder if folder.is_dir() else None, gpu.read_gpus)


def available_bytes() -> int:
    """Memory this process may still take: the host's, or what its cgroup leaves of it."""
    left = cgroup.memory_left_bytes()
    available = psutil.virtual_memory().available
    return available if left is None else min(available, left)


def _check_settings(config: VllmEngine, device: str, nodes: int) -> None:
    if device == "cpu":
        if config.block_size is not None and config.block_size % CPU_BLOCK_TOKENS:
            raise ConfigError(
                f"engine.block_size must be a multiple of {CPU_BLOCK_TOKENS} on cores, got {config.block_size}"
            )
        if config.chunked_prefill is True:
            raise ConfigError(
                "engine.chunked_prefill true: on cores vLLM can't split a seeded request's prompt: set it to auto"
            )
        if config.extra.get("quantization") == "fp8":
            raise ConfigError(
                "engine.extra.quantization fp8: the installed vLLM runs on cores and has no kernels for it: leave it "
                "out, or pip install '.[gpu]'"
            )
        for key in ("tensor_parallel_size", "pipeline_parallel_size") if nodes == 1 else ():
            if getattr(config, key) > 1:
                raise ConfigError(
                    f"engine.{key} {getattr(config, key)} needs GPUs, and the installed vLLM runs on cores: set it to "
                    "1, or pip install '.[gpu]'"
                )


def _check_memory(config: VllmEngine, folder: Path) -> None:
    weights, kv = weight_bytes(folder, config.dtype), int(config.kv_cache_gib * GIB)
    one = kv_token_bytes(folder, config.dtype) * config.max_model_len
    if one > kv:
        raise ConfigError(
            f"engine.kv_cache_gib {config.kv_cache_gib:g} does not hold one sequence of engine.max_model_len "
            f"{config.max_model_len} ({one / GIB:.2f} GiB): set kv_cache_gib to at least {one / GIB:.2f}"
        )
    needed, available = weights + kv + OVERHEAD_BYTES, available_bytes()
    if needed > available:
        raise ResourceError(
            f"not enough memory for the engine: {needed / GIB:.1f} GiB are needed ({weights / GIB:.1f} weights of "
            f"{config.model}, {config.kv_cache_gib:g} engine.kv_cache_gib, {OVERHEAD_BYTES / GIB:.2f} around them), "
            f"{available / GIB:.1f} GiB are free. Lower engine.kv_cache_gib, take a smaller engine.model, or close "
            "other programs"
        )
