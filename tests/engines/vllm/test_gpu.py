"""What an engine finds on a GPU's host is told in one line before it starts; the driver's answers are made up here."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.engines.vllm import compat, gpu, host
from berry.pipeline.engines.vllm.gpu import Gpu
from berry.pipeline.engines.vllm.sizes import GIB, has_windows, kv_token_bytes
from berry.pipeline.errors import BerryError, ConfigError, ResourceError

H100 = Gpu(0, "NVIDIA H100", 80 * GIB, 79 * GIB)


def config(**changes: Any) -> VllmEngine:
    return VllmEngine(**{"model": "a/model", "max_model_len": 4096, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """folder(gib=14, **changes) -> a model's folder: so large weights, and a config.json."""

    def make(gib: float = 14, **changes: Any) -> Path:
        values = {
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "hidden_size": 4096,
            "torch_dtype": "bfloat16",
        }
        (tmp_path / "config.json").write_text(json.dumps(values | changes))
        with (tmp_path / "model.safetensors").open("wb") as weights:
            weights.truncate(int(gib * GIB))  # sparse
        return tmp_path

    return make


def test_a_sound_host_passes(folder: Callable[..., Path]) -> None:
    gpu.check(config(), 0.9, folder(), lambda: [H100])
    gpu.check(config(), 0.9, None, lambda: [H100])


@pytest.mark.parametrize(
    ("gib", "changes", "gpus", "message"),
    [
        (14, {"tensor_parallel_size": 2}, 1, r"tensor_parallel_size 2 needs 2 GPUs.*sees 1: give the role"),
        (14, {}, 0, r"tensor_parallel_size 1 needs 1 GPUs.*sees 0"),
        (75, {}, 1, r"75\.0 GiB of weights and 0\.50 GiB for one sequence.*max_model_len 4096.*hold 72\.0\. Raise"),
        (140, {"tensor_parallel_size": 2}, 2, None),
        (71.8, {}, 1, r"71\.8 GiB of weights and 0\.50"),
        (71.8, {"max_model_len": 1024}, 1, None),
    ],
)
def test_what_does_not_fit_is_refused(
    folder: Callable[..., Path], gib: float, changes: dict[str, Any], gpus: int, message: str | None
) -> None:
    def check() -> None:
        gpu.check(config(**changes), 0.9, folder(gib), lambda: [H100] * gpus)

    if message is None:
        check()
    else:
        with pytest.raises(ConfigError, match=message) as raised:
            check()
        assert "\n" not in str(raised.value)


def test_a_sequence_takes_what_its_attention_keeps(folder: Callable[..., Path]) -> None:
    assert kv_token_bytes(folder(), "auto") == 2 * 32 * 8 * 128 * 2
    assert kv_token_bytes(folder(kv_lora_rank=512, qk_rope_head_dim=64), "auto") == 32 * 576 * 2
    assert has_windows(folder(sliding_window=1024))
    assert not has_windows(folder(sliding_window=1024, use_sliding_window=False))
    assert has_windows(folder(layer_types=["full_attention", "sliding_attention"]))
    assert not has_windows(folder(layer_types=["full_attention", "full_attention"]))
    gpu.check(config(max_model_len=10**7), 0.9, folder(sliding_window=1024), lambda: [H100])


def test_memory_that_comes_back_is_waited_for() -> None:
    free = iter([1, 40, 73])
    slept: list[float] = []
    gpu.wait_for_memory(0.9, 1, lambda: [Gpu(0, "NVIDIA H100", 80 * GIB, next(free) * GIB)], sleep=slept.append)
    assert slept == [gpu.POLL_S] * 2


def test_memory_that_does_not_come_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 50.0)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: next(clock))
    held = [H100, Gpu(1, "NVIDIA H100", 80 * GIB, 12 * GIB), Gpu(2, "NVIDIA H100", 80 * GIB, 0)]
    message = r"^GPU 1 \(NVIDIA H100\) has 12\.0 of 80\.0 GiB free, and the engine takes 36\.0 \(waited 120 s\): end"
    with pytest.raises(ResourceError, match=message):
        gpu.wait_for_memory(0.45, 2, lambda: held, sleep=lambda _: None)


@pytest.mark.parametrize(
    ("driver_cuda", "built_for", "message"),
    [
        ((12, 2), "12.8", None),
        ((13, 0), "12.8", None),
        ((12, 8), "13.0", r"driver 550\.1 knows CUDA up to 12\.8, .* built for 13\.0: update the driver"),
        ((13, 0), None, r"not built for CUDA: pip install"),
    ],
)
def test_a_driver_runs_its_own_major_version_and_older_ones(
    driver_cuda: tuple[int, int], built_for: str | None, message: str | None
) -> None:
    if message is None:
        gpu.check_driver(driver_cuda, built_for, "550.1")
    else:
        with pytest.raises(ResourceError, match=message):
            gpu.check_driver(driver_cuda, built_for, "550.1")


def test_no_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ResourceError, match=r"no C compiler on this host \(gcc or cc or clang\).*Install gcc"):
        gpu.check_compiler()
    monkeypatch.setenv("CC", "/no/such/cc")
    with pytest.raises(ResourceError, match=re.escape("(/no/such/cc)")):
        gpu.check_compiler()


def test_an_engine_on_cores_asks_no_driver_and_one_on_gpus_says_that_none_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host.check_gpus(config(model="tiny-arithmetic"), "cpu")
    monkeypatch.setattr(gpu, "check_compiler", lambda: None)

    def none_answers() -> compat.Nvidia:
        raise ResourceError("no NVIDIA driver answers on this host")

    monkeypatch.setattr(compat, "nvidia", none_answers)
    with pytest.raises(BerryError, match="no NVIDIA driver answers"):
        host.check_gpus(config(model="tiny-arithmetic"), "gpu")


def test_the_driver_is_read_in_the_processs_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pynvml = pytest.importorskip("vllm.third_party.pynvml")
    names = ["H100 A", "H100 B", "H100 C"]

    class Memory:
        total, free = 80 * GIB, 79 * GIB

    for name, answer in {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetCudaDriverVersion": lambda: 13000,
        "nvmlSystemGetDriverVersion": lambda: "580.65",
        "nvmlDeviceGetCount": lambda: 3,
        "nvmlDeviceGetHandleByIndex": lambda index: names[index],
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"by {uuid}",
        "nvmlDeviceGetMemoryInfo": lambda _: Memory,
        "nvmlDeviceGetName": lambda handle: handle,
    }.items():
        monkeypatch.setattr(pynvml, name, answer)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [name for name, _, _ in compat.nvidia().gpus] == names
    assert compat.nvidia().cuda == (13, 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0,GPU-7f")
    assert [name for name, _, _ in compat.nvidia().gpus] == ["H100 C", "H100 A", "by GPU-7f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert compat.nvidia().gpus == []
