"""Looks at this host's GPUs before an engine starts on them: what would fail later, as one line with its remedy.

compiler ─► driver ─► the model fits ─► enough memory is free, which is waited for: a killed engine gives it back late
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.engines.vllm import compat
from berry.pipeline.engines.vllm.sizes import GIB, has_windows, kv_token_bytes, weight_bytes
from berry.pipeline.errors import ConfigError, ResourceError

FREED_S = 120.0  # for which memory that something else holds is waited for
POLL_S = 2.0
COMPILERS = ("gcc", "cc", "clang")  # of which Triton calls the first that is there, unless CC names one


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this process, as its driver sees it now. `total` and `free`: bytes of its memory."""

    index: int
    name: str
    total: int
    free: int


def check(config: VllmEngine, share: float, folder: Path | None, read: Callable[[], Sequence[Gpu]]) -> None:
    """Raises ConfigError or ResourceError for what would keep an engine from starting on these GPUs.

    share:   of each GPU's memory that the engine takes
    folder:  of the model; None where it is still to be fetched, and nobody knows its size
    read:    reads the GPUs; raises ResourceError where no driver answers
    """
    check_compiler()
    gpus = read()
    needed = config.parts
    if len(gpus) < needed:
        stages = (
            f" × pipeline_parallel_size {config.pipeline_parallel_size}" if config.pipeline_parallel_size > 1 else ""
        )
        raise ConfigError(
            f"engine.tensor_parallel_size {config.tensor_parallel_size}{stages} needs {needed} GPUs in one process, "
            f"and this one sees {len(gpus)}: give the role as many `gpus`"
        )
    if folder is not None:
        check_fits(config, share, folder, gpus[:needed])
    wait_for_memory(share, needed, read)


def check_compiler() -> None:
    """Raises ResourceError where Triton, which compiles kernels while an engine runs, finds no C compiler."""
    wanted = [os.environ["CC"]] if os.environ.get("CC") else COMPILERS
    if not any(shutil.which(name) for name in wanted):
        raise ResourceError(
            f"no C compiler on this host ({' or '.join(wanted)}): Triton compiles vLLM's kernels with it. "
            "Install gcc, or set the variable CC to one that is there"
        )


def check_driver(driver_cuda: tuple[int, int], built_for: str | None, driver: str) -> None:
    """Raises ResourceError where the driver is too old for the CUDA that torch was built for. A driver runs every
    release of its own major version (CUDA's minor version compatibility).

    driver_cuda:  newest CUDA that the driver knows, (major, minor)
    built_for:    as torch.version.cuda says it; None: not built for CUDA
    driver:       the driver's own version
    """
    if built_for is None:
        raise ResourceError("the installed torch is not built for CUDA: pip install '.[gpu]'")
    if driver_cuda[0] < int(built_for.split(".")[0]):
        raise ResourceError(
            f"NVIDIA driver {driver} knows CUDA up to {driver_cuda[0]}.{driver_cuda[1]}, the installed torch is built "
            f"for {built_for}: update the driver, or install a torch and vLLM built for CUDA {driver_cuda[0]}"
        )


def check_fits(config: VllmEngine, share: float, folder: Path, gpus: Sequence[Gpu]) -> None:
    """Raises ConfigError where the weights and one sequence are more than the engine's share of these GPUs."""
    weights = weight_bytes(folder, config.dtype)
    sequence = 0 if has_windows(folder) else kv_token_bytes(folder, config.dtype) * config.max_model_len
    usable = int(share * sum(gpu.total for gpu in gpus))
    if weights + sequence > usable:
        raise ConfigError(
            f"{config.model} does not fit: {weights / GIB:.1f} GiB of weights and {sequence / GIB:.2f} GiB for one "
            f"sequence of engine.max_model_len {config.max_model_len}, of which {share:.2f} of {len(gpus)} × "
            f"{gpus[0].name} hold {usable / GIB:.1f}. Raise engine.tensor_parallel_size, or lower max_model_len"
        )


def wait_for_memory(
    share: float,
    gpus: int,
    read: Callable[[], Sequence[Gpu]],
    *,
    seconds: float = FREED_S,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns once the share of each of the first `gpus` GPUs is free. Raises ResourceError with what is taken where it
    is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        short = [gpu for gpu in read()[:gpus] if gpu.free < share * gpu.total]
        if not short:
            return
        if time.monotonic() >= deadline:
            raise ResourceError(
                "; ".join(
                    f"GPU {gpu.index} ({gpu.name}) has {gpu.free / GIB:.1f} of {gpu.total / GIB:.1f} GiB free, and the "
                    f"engine takes {share * gpu.total / GIB:.1f}"
                    for gpu in short
                )
                + f" (waited {seconds:g} s): end what holds it (nvidia-smi shows it), or lower "
                "engine.gpu_memory_utilization"
            )
        sleep(POLL_S)


def read_gpus() -> list[Gpu]:
    """The GPUs that this process may use, in its own order. Raises ResourceError where no driver answers or it is too
    old."""
    facts = compat.nvidia()
    check_driver(facts.cuda, facts.built_for, facts.driver)
    return [Gpu(index, name, total, free) for index, (name, total, free) in enumerate(facts.gpus)]
