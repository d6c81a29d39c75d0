"""The repository's benchmarks at this device's sizes, each in a process of its own, on models in known shapes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from part import Figure, Here, at_least, at_most
from shapes import made

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PIPELINE_OVER_OFFLINE = 0.90
LEAST_TOKENS_PER_S = {"qwen2.5-0.5b": 20_000, "qwen3-8b": 5_000}  # of the pipeline on an H100 at 512 sequences
OCCUPANCY = 0.90
POLICIES = ("fixed", "entropy", "beam", "mcts")
MEMORY_SHARE = 0.4  # of the GPU, for the engine measured and the one it is measured against, or a reward model
LATE_MS = 50  # of the event loop that feeds an engine
FEEDER_US = 13  # a token, of the thread that feeds an engine, with stop strings and the top 5
TRAINING_OVER_PADDED = 3  # trees of 64 leaves
LIKE_PADDED = 1e-2  # gradients of packed trees apart from the padded batch's, float32 on a GPU
Found = tuple[list[Figure], dict[str, Any]]


# ---- (b) the whole pipeline over vLLM's offline API ------------------------------------------------------------------


def overhead(here: Here) -> Found:
    return _overhead(here, "qwen2.5-0.5b")


def overhead_v1(here: Here) -> Found:
    return _overhead(here, "qwen2.5-0.5b", "--runner", "v1")


def overhead_seeded(here: Here) -> Found:
    return _overhead(here, "qwen2.5-0.5b", "--reproducible")


def overhead_8b(here: Here) -> Found:
    return _overhead(here, "qwen3-8b")


def _overhead(here: Here, model: str, *more: str) -> Found:
    sizes = here.sizes
    words = [made(model, here), "--rounds", str(sizes.overhead_rounds), "--seqs", str(sizes.seqs), *more]
    words += ["--problems", str(sizes.overhead_problems), "--samples", "4", "--tokens", str(sizes.overhead_tokens)]
    if here.on_gpu:
        words += ["--memory-share", str(MEMORY_SHARE)]
    raw = json.loads(_printed(here, "overhead", words).splitlines()[-1])
    pipeline = raw["pipeline"]
    return [
        at_least("pipeline/offline", pipeline["over_offline"], PIPELINE_OVER_OFFLINE, judged=here.on_gpu),
        at_least("tokens/s", pipeline["tokens_per_s"], LEAST_TOKENS_PER_S[model], judged=here.on_gpu),
        Figure("engine/offline", raw["engine"]["over_offline"]),
        Figure("feeder us a token", pipeline["feeder_us_a_token"]),
        at_most("loop late ms", pipeline["loop_delay_ms"], LATE_MS, judged=here.on_gpu),
        Figure("runner", str(raw["runner"]).rpartition(".")[0] or str(raw["runner"])),
    ], raw


# ---- (c), (d), (e) searches ------------------------------------------------------------------------------------------


def search(here: Here) -> Found:
    """Occupancy at the full number of sequences, and trees over independent samples, on one engine."""
    return _search(here, here.sizes.seqs, "trees", "occupancy")


def search_fewer(here: Here) -> Found:
    return _search(here, here.sizes.fewer_seqs, "occupancy")


def prm_in_the_loop(here: Here) -> Found:
    """Beams that a PRM of the generator's own size guides, both on one GPU."""
    words = ["--prm", "begun", "--policies", "beam", *(["--memory-share", str(MEMORY_SHARE)] if here.on_gpu else [])]
    figures, raw = _search(here, here.sizes.seqs, "occupancy", more=words, judged=False)
    return [*figures, at_least("values asked for", raw["scored"], 1)], raw


def search_8b(here: Here) -> Found:
    return _search(here, here.sizes.seqs, "occupancy", model="qwen3-8b", more=["--policies", "fixed", "mcts"])


def _search(
    here: Here,
    seqs: int,
    *parts: str,
    model: str = "qwen2.5-0.5b",
    more: list[str] | None = None,
    judged: bool = True,
) -> Found:
    words = ["--model", made(model, here), "--problems", str(here.sizes.search_problems), "--seqs", str(seqs)]
    words += ["--max-tokens", str(here.sizes.search_tokens), "--step-tokens", str(here.sizes.search_tokens // 4)]
    words += ["--repeats", str(here.sizes.search_repeats), *(more or ["--policies", *POLICIES]), "--parts", *parts]
    printed = _printed(here, "search", words)
    raw = json.loads(printed[printed.index("{") :])
    figures = []
    for policy, share in raw["occupancy"].items():
        figures.append(at_least(f"{policy}: occupancy", share, OCCUPANCY, judged=here.on_gpu and judged))
        figures.append(Figure(f"{policy}: cache hit", raw["cache hit"][policy]))
        figures.append(Figure(f"{policy}: preemptions", raw["preemptions"][policy]))
        figures.append(Figure(f"{policy}: tokens/s", raw["tokens/s"][policy]))
    for policy, found in raw.get("trees", {}).items():
        figures.append(at_most(f"{policy}: recomputed a leaf", found["recomputed a leaf"], 1, judged=here.on_gpu))
        figures.append(Figure(f"{policy}: wall a leaf", found["wall a leaf"]))
    return figures, raw


# ---- (g), (i) the process that feeds an engine; training on trees ----------------------------------------------------


def frontend(here: Here) -> Found:
    """Microseconds of one thread: a token, from long answers; a request, from what short ones cost beside."""
    rounds, long, short = (1, 32, 4) if here.quick else (3, 64, 4)
    model = "tiny-arithmetic"
    found: dict[int, dict[str, float]] = {}
    for tokens in (long, short):
        printed = _printed(here, "frontend", ["--model", model, "--rounds", str(rounds), "--tokens", str(tokens)])
        found[tokens] = {m[1]: float(m[2]) for m in re.finditer(r"^(vllm|berry|ours) +([\d.]+)", printed, re.MULTILINE)}
    figures = []
    for part, name in (("berry", "vLLM's"), ("ours", "ours")):
        # What a token costs in answers of n tokens is a + b / n: b is what a request costs.
        request = (found[short][part] - found[long][part]) / (1 / short - 1 / long)
        figures.append(Figure(f"{name}: us a token", found[long][part] - request / long))
        figures.append(Figure(f"{name}: us a request", request))
    both = found[long]["berry"] + found[long]["ours"]
    return [at_most("us a token, both", both, FEEDER_US, judged=here.on_gpu), *figures], {"tokens": found}


def tree_training(here: Here) -> Found:
    model = made("qwen2.5-0.5b", here) if here.on_gpu else "tiny-arithmetic"
    words = ["--model", model, "--leaves", str(here.sizes.leaves), "--device", here.device, "--repeats", "2"]
    line = _printed(here, "tree_training", words).strip().splitlines()[-1]
    wall, tokens, rate, apart = (float(cell.strip(" x").replace(",", "")) for cell in line.split("|")[1:])
    return [
        at_least("packed over padded", wall, TRAINING_OVER_PADDED, judged=here.on_gpu),
        Figure("tokens computed over", tokens),
        Figure("trained tokens/s", rate),
        at_most("gradients apart", apart, LIKE_PADDED),
    ], {"wall": wall, "tokens": tokens, "rate": rate, "apart": apart}


def _printed(here: Here, name: str, words: list[str]) -> str:
    """What the benchmark prints; what it says beside goes to this process's standard error."""
    command = [sys.executable, "-P", str(BENCHMARKS / f"{name}.py"), *words]
    done = subprocess.run(command, cwd=here.work, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}.py {' '.join(words)} ended with {done.returncode}")
    return done.stdout
