"""All of vLLM that `pipeline.engines` calls, and whether a release has it: read from its sources, nothing is imported.

    python tests/engines/vllm/surface.py vllm-0.23.0-….whl      (or a folder of site-packages)

A release is wanted before there is a GPU to try it on: names and arguments can be checked anywhere, what they do can't.
"""

from __future__ import annotations

import ast
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Use:
    """`names` are module-level ones, or a class's methods and fields; a method's own arguments are in brackets."""

    file: str
    owner: str | None
    names: tuple[str, ...]


USES = (
    Use(
        "vllm/engine/arg_utils.py",
        "EngineArgs",
        (
            "model",
            "dtype",
            "max_model_len",
            "max_num_seqs",
            "max_num_batched_tokens",
            "enable_prefix_caching",
            "enforce_eager",
            "enable_chunked_prefill",
            "tensor_parallel_size",
            "pipeline_parallel_size",
            "distributed_executor_backend",
            "gpu_memory_utilization",
            "kv_cache_memory_bytes",
            "block_size",
            "scheduling_policy",
            "generation_config",
            "disable_log_stats",
            "worker_extension_cls",
            "use_tqdm_on_load",
            "runner",
            "pooler_config",
            "skip_tokenizer_init",
            "logprobs_mode",
            "max_cudagraph_capture_size",
            "seed",
        ),
    ),
    Use(
        "vllm/v1/engine/logprobs.py",
        "LogprobsProcessor",
        ("from_new_request(tokenizer, request)", "_update_sample_logprobs(logprobs_lists)"),
    ),
    Use("vllm/logprobs.py", "FlatLogprobs", ("token_ids", "logprobs")),
    Use(
        "vllm/v1/outputs.py",
        "LogprobsLists",
        ("logprob_token_ids", "logprobs", "sampled_token_ranks", "cu_num_generated_tokens"),
    ),
    Use("vllm/v1/outputs.py", "LogprobsTensors", ("tolists(cu_num_generated_tokens)",)),
    Use("vllm/v1/engine/__init__.py", "EngineCoreOutput", ("new_logprobs", "new_token_ids", "request_id", "events")),
    Use(
        "vllm/v1/engine/output_processor.py",
        "OutputProcessor",
        ("request_states", "process_outputs(engine_core_outputs)", "log_stats", "lora_states"),
    ),
    Use("vllm/v1/engine/output_processor.py", "RequestState", ("is_prefilling", "prompt_len")),
    Use("vllm/v1/metrics/stats.py", "LoRARequestStates", ("log_stats",)),
    Use("vllm/v1/engine/__init__.py", "EngineCoreOutputs", ("outputs",)),
    Use("vllm/v1/serial_utils.py", "MsgpackDecoder", ("decoder", "ext_hook(code, data)", "dec_hook(t, obj)")),
    Use("vllm/v1/engine/core_client.py", "MPClient", ("decoder",)),
    Use("vllm/v1/engine/async_llm.py", "AsyncLLM", ("engine_core", "output_processor", "log_stats", "logger_manager")),
    Use("vllm/v1/worker/gpu_model_runner.py", "GPUModelRunner", ("_get_prompt_logprobs_dict",)),
    Use(
        "vllm/v1/sample/rejection_sampler.py",
        None,
        (
            "expand_batch_to_tokens(x, cu_num_tokens, num_tokens, replace_from, replace_to)",
            "apply_sampling_constraints(logits, cu_num_draft_tokens, sampling_metadata)",
        ),
    ),
    Use("vllm/v1/sample/sampler.py", "Sampler", ("compute_logprobs(logits)",)),
    Use("vllm/v1/sample/ops/logprobs.py", None, ("batched_count_greater_than(x, values)",)),
    Use("vllm/v1/sample/ops/topk_topp_sampler.py", None, ("apply_top_k_top_p(logits, k, p)",)),
    Use("vllm/engine/arg_utils.py", None, ("AsyncEngineArgs",)),
    Use(
        "vllm/v1/engine/async_llm.py",
        "AsyncLLM",
        (
            "from_engine_args(engine_args, stat_loggers)",
            "generate(prompt, sampling_params, request_id, priority)",
            "encode(prompt, pooling_params, request_id)",
            "abort(request_id)",
            "pause_generation(mode, clear_cache)",
            "resume_generation()",
            "reset_prefix_cache(reset_running_requests)",
            "collective_rpc(method, args, kwargs)",
            "shutdown()",
        ),
    ),
    Use("vllm/inputs/engine.py", None, ("tokens_input(prompt_token_ids)",)),
    Use("vllm/v1/engine/exceptions.py", None, ("EngineDeadError", "EngineGenerateError")),
    Use(
        "vllm/v1/metrics/loggers.py",
        "StatLoggerBase",
        ("record(scheduler_stats, iteration_stats)", "log_engine_initialized()"),
    ),
    Use(
        "vllm/v1/metrics/stats.py",
        "SchedulerStats",
        ("num_running_reqs", "num_waiting_reqs", "kv_cache_usage", "prefix_cache_stats"),
    ),
    Use(
        "vllm/v1/metrics/stats.py",
        "IterationStats",
        ("num_prompt_tokens", "num_generation_tokens", "num_preempted_reqs"),
    ),
    Use(
        "vllm/sampling_params.py",
        "SamplingParams",
        (
            "n",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "seed",
            "max_tokens",
            "stop",
            "include_stop_str_in_output",
            "detokenize",
            "logprobs",
            "prompt_logprobs",
            "flat_logprobs",
            "output_kind",
            "skip_clone",
        ),
    ),
    Use("vllm/sampling_params.py", "RequestOutputKind", ("CUMULATIVE", "FINAL_ONLY")),
    Use("vllm/logprobs.py", "FlatLogprobs", ("logprobs", "ranks")),
    Use("vllm/outputs.py", "RequestOutput", ("num_cached_tokens",)),
    Use("vllm/outputs.py", "PoolingRequestOutput", ("num_cached_tokens",)),
    Use("vllm/pooling_params.py", "PoolingParams", ("task", "use_activation")),
    Use("vllm/config/pooler.py", "PoolerConfig", ("task",)),
    Use(
        "vllm/third_party/pynvml.py",
        None,
        (
            "NVMLError",
            "nvmlInit",
            "nvmlShutdown",
            "nvmlSystemGetCudaDriverVersion",
            "nvmlSystemGetDriverVersion",
            "nvmlDeviceGetCount",
            "nvmlDeviceGetHandleByIndex",
            "nvmlDeviceGetHandleByUUID",
            "nvmlDeviceGetMemoryInfo",
            "nvmlDeviceGetName",
        ),
    ),
    Use("vllm/v1/worker/gpu_worker.py", "Worker", ("reload_weights",)),
    Use("vllm/v1/worker/gpu_model_runner.py", "GPUModelRunner", ("reload_weights(weights_path)", "get_model()")),
)

Read = Callable[[str], str | None]


def lacking(read: Read) -> list[str]:
    """What a release does not have, one line each. `read` gives a file's text, None where there is no such file."""
    found = []
    for use in USES:
        text = read(use.file)
        scope = None if text is None else _scope(ast.parse(text), use.owner)
        where = f"{use.file}: {use.owner or ''}".rstrip(": ")
        if scope is None:
            found.append(f"{where} is not there")
            continue
        for wanted in use.names:
            name, _, arguments = wanted.partition("(")
            here = scope.get(name)
            if here is None:
                found.append(f"{where} has no {name}")
                continue
            missing = [a for a in arguments.rstrip(")").split(", ") if a and here and a not in here]
            found += [f"{where}.{name} takes no {argument}" for argument in missing]
    return found


def of_wheel(path: Path) -> Read:
    """Reads from a wheel."""

    def read(name: str) -> str | None:
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(name).decode() if name in wheel.namelist() else None

    return read


def of_folder(folder: Path) -> Read:
    """Reads from site-packages."""

    def read(name: str) -> str | None:
        path = folder / name
        return path.read_text() if path.is_file() else None

    return read


def _scope(module: ast.Module, owner: str | None) -> dict[str, set[str]] | None:
    """Names in a module or a class of it, each with the arguments it takes (none known for what is no function)."""
    body: list[ast.stmt] = module.body
    if owner is not None:
        classes = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name == owner]
        if not classes:
            return None
        body = classes[0].body
    return {name: arguments for statement in body for name, arguments in _named(statement)}


def _named(statement: ast.stmt) -> Iterator[tuple[str, set[str]]]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        given = statement.args
        yield statement.name, {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
        if statement.name == "__init__":  # fields of a class that is no dataclass
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    yield node.attr, set()
    elif isinstance(statement, ast.ClassDef):
        yield statement.name, set()
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id, set()
    elif isinstance(statement, ast.Assign):
        yield from ((target.id, set()) for target in statement.targets if isinstance(target, ast.Name))


if __name__ == "__main__":
    for given in map(Path, sys.argv[1:]):
        lines = lacking(of_wheel(given) if given.suffix == ".whl" else of_folder(given))
        print(f"{given.name}: {'; '.join(lines) or 'has all that is used'}")
