"""Makes the runs of `berry eval CONFIG`: independent chains, and each search at its budget; all can be resumed.

Evaluation ─► problem files of its benchmarks ─► RunConfig a run ─► driver.run ─► OUT/runs/NAME
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.evaluation import BenchmarkFile, Evaluation
from berry.pipeline.errors import ConfigError, ProblemFileError
from berry.pipeline.records import Problem
from berry.pipeline.runtime.display import Display
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run as drive
from berry.pipeline.stages.problems.benchmarks import STANDARD, is_problem_file
from berry.pipeline.stages.problems.files import read_problems
from berry.pipeline.stages.problems.importing import IMPORTERS, convert
from berry.pipeline.storage.files import Location

CHAINS = "chains"


@dataclass(frozen=True, slots=True)
class EvalRun:
    """One run to make: `search` None: the independent chains."""

    folder: str
    config: RunConfig
    search: str | None
    budget: int


def benchmark_problems(name: str, benchmark: BenchmarkFile) -> Iterator[Problem]:
    """The problems of a benchmark, asked and judged as the field does where it is a standard one. Raises ConfigError
    for a data set that nothing reads, ProblemFileError for a file that holds none."""
    named = benchmark.dataset
    if named is None and name in STANDARD and not is_problem_file(benchmark.path):
        named = name
    if named is not None and named not in IMPORTERS and named not in STANDARD:
        raise ConfigError(
            f"benchmarks.{name}.dataset {named!r}: there are {', '.join(sorted({*IMPORTERS, *STANDARD}))}; leave it "
            "out for a problem file"
        )
    standard = None if named is None else STANDARD.get(named)
    taken = 0
    for problem in _read(benchmark.path, standard.dataset if standard else named):
        if benchmark.limit is not None and taken >= benchmark.limit:
            break
        if standard is not None and not standard.holds(problem):
            continue
        taken += 1
        if standard is not None:
            yield standard.asked(problem, benchmark.suffix)
        else:
            yield problem.with_suffix(benchmark.suffix or "")
    if not taken:
        raise ProblemFileError(f"{benchmark.path}: no problem of benchmark {name!r} can be checked")


def _read(path: str, dataset: str | None) -> Iterator[Problem]:
    if dataset is None:
        yield from read_problems(path)
        return
    for _, found in convert(path, IMPORTERS[dataset]()):
        if not isinstance(found, str):
            yield found.problem


def write_benchmarks(wanted: Evaluation, location: Location) -> dict[str, str]:
    """Writes OUT/benchmarks/NAME.jsonl for each benchmark; returns the benchmark of each problem's id."""
    names: dict[str, str] = {}
    for name, benchmark in wanted.benchmarks.items():
        lines = []
        for problem in benchmark_problems(name, benchmark):
            if problem.id in names:
                raise ConfigError(
                    f"benchmarks.{name}: problem id {problem.id!r} also stands in benchmark {names[problem.id]!r}: ids "
                    "must differ, since results are told apart by them"
                )
            names[problem.id] = name
            lines.append(problem.model_dump_json())
        data = ("\n".join(lines) + "\n").encode()
        if location.get(f"benchmarks/{name}.jsonl") != data:
            location.put(f"benchmarks/{name}.jsonl", data)
    return names


def runs_of(wanted: Evaluation, location: Location, base: Path) -> list[EvalRun]:
    """The chains first, then the searches. `base`: the folder that relative paths of `run` are relative to. Raises
    ConfigError for anything that no run could be made of."""
    runs = [_run(wanted, location, base, None)]
    return [*runs, *(_run(wanted, location, base, i) for i in range(len(wanted.searches)))]


def _run(wanted: Evaluation, location: Location, base: Path, index: int | None) -> EvalRun:
    raw: dict[str, Any] = json.loads(json.dumps(wanted.run))
    rounds = raw.pop("rounds", None)
    if rounds not in (None, 1):
        raise ConfigError("run.rounds: an evaluation measures one set of weights: leave it out")
    if any("modes" in keys for keys in (raw.get("rollout") or {}, *(search.rollout for search in wanted.searches))):
        raise ConfigError(
            "rollout.modes: an evaluation measures one mode: put its keys into `run`, or into `searches`, one search "
            "for each; of a run that has modes, `berry eval RUN --mode NAME`"
        )
    if wanted.benchmarks:
        files = [location.path(f"benchmarks/{name}.jsonl") for name in wanted.benchmarks]
        raw["problems"] = [{"type": "file", "path": str(Path(file).resolve())} for file in files]
    rollout = raw.setdefault("rollout", {})
    if index is None:
        name, budget = CHAINS, wanted.samples
        rollout["policy"] = {"type": "best_of_n", "n": wanted.samples}
        rollout.pop("cut", None)
        rollout.pop("budget", None)
    else:
        search = wanted.searches[index]
        name, budget = search.name, search.budget
        raw["rollout"] = _joined(rollout, search.rollout)
    folder = f"runs/{CHAINS}" if index is None else f"runs/{_slug(name)}-{budget}"
    raw["name"] = folder.removeprefix("runs/")
    where = f"{wanted.name}: run" if index is None else f"{wanted.name}: searches.{index}"
    config = validate(raw, RunConfig, where=where, base=base)
    return EvalRun(folder, config, None if index is None else name, budget)


def _joined(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the keys of `above`; a policy replaces a policy whole, since its keys belong to its type."""
    joined = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(joined.get(key), dict) and key != "policy"
        joined[key] = _joined(joined[key], value) if both else value
    return joined


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)


def make_runs(runs: list[EvalRun], location: Location, display: Display, *, address: str | None, local: bool) -> bool:
    """Makes, or resumes, each run; False if one was interrupted."""
    for i, run in enumerate(runs, start=1):
        display.note(f"{run.search or 'independent chains'} at {run.budget}: run {i} of {len(runs)}")
        place = location.path(run.folder) if location.is_local else location.show(run.folder)
        if not drive(run.config, Launch(place, address=address, local=local), display).finished:
            return False
    return True
