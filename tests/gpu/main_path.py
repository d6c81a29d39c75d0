"""The main path, as `berry run` has it: trees, sandboxes, Parquet, through Ray; and two engines on one GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from part import Figure, Here, at_least, at_most, cluster

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
Found = tuple[list[Figure], dict[str, Any]]


def tiny(here: Here) -> Found:
    return _run(here, "tiny", [f"problems.0.count={here.sizes.tiny_problems}"])


def smollm2(here: Here) -> Found:
    sizes = here.sizes
    words = [f"problems.{i}.count={sizes.smollm2_problems}" for i in range(3)]
    words += [f"rollout.policy.chains={sizes.smollm2_chains}", f"rollout.sampling.max_tokens={sizes.smollm2_tokens}"]
    return _run(here, "demo", words)


def shared(here: Here) -> Found:
    """Two engines of one run, each with less than half of the memory."""
    from berry.pipeline.storage.run.directory import open_run
    from berry.pipeline.storage.run.duckdb_views import connect

    words = [f"problems.0.count={here.sizes.tiny_problems}", "engine.gpu_memory_utilization=0.4"]
    figures, raw = _run(here, "tiny", words, name="shared", engines=2)
    rows = connect(open_run(raw["place"])).execute("select engine_id, count(*) from nodes group by 1").fetchall()
    raw["nodes_by_engine"] = {name: count for name, count in rows if name}
    return [at_least("engines at work", len(raw["nodes_by_engine"]), 2), *figures], raw


def through(here: Here, config: str, words: list[str], place: str, *, engines: int = 1) -> tuple[Any, Any]:
    """Runs a configuration of the repository as `berry run` does; how it ended, and the summary of what it wrote."""
    from berry.pipeline.cli.loading import load_run
    from berry.pipeline.cli.progress import PlainDisplay
    from berry.pipeline.report.summary import summarise
    from berry.pipeline.runtime.driver.outcome import Launch
    from berry.pipeline.runtime.driver.run import run
    from berry.pipeline.storage.run.directory import open_run

    words = [*words, f"engine.max_num_seqs={here.sizes.seqs}", *cluster(here, engines=engines)]
    outcome = run(load_run(str(CONFIGS / f"{config}.yaml"), words), Launch(run_dir=place), PlainDisplay())
    return outcome, summarise(open_run(place))


def _run(here: Here, config: str, words: list[str], *, name: str | None = None, engines: int = 1) -> Found:
    place = str(here.work / "runs" / (name or config))
    outcome, summary = through(here, config, words, place, engines=engines)
    rates = outcome.figures
    checked = sum(summary.outcomes.get(outcome, 0) for outcome in ("pass", "wrong", "no_answer"))
    unverifiable = summary.outcomes.get("unverifiable", 0) / max(summary.trajectories, 1)
    figures = [
        Figure("problems", summary.problems, "all committed", outcome.finished and summary.problems > 0),
        at_least("passed", summary.outcomes.get("pass", 0), 1),
        at_least("checked", checked, 1),
        at_most("unverifiable share", unverifiable, 0.01),
        at_most("lost workers", rates["lost_workers"], 0),
        Figure("tokens/s", rates["tokens_per_s"]),
        Figure("occupancy", rates["occupancy"]),
        Figure("cache hit", rates["cache_hit"]),
    ]
    raw = {"place": place, "finished": outcome.finished, "verdicts": summary.outcomes, "kept": summary.kept} | rates
    return figures, raw
