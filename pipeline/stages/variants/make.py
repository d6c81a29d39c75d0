"""Makes variants of problems, each with provenance and its own check, and one problems file of them and the originals.

    sources ─► Original ─► its kinds on one engine ─► Checkpoint ─► merge ─► OUT.jsonl, OUT.refused.jsonl

    prepared = prepare(config, "out.jsonl"); summary = await make(prepared, engine, checker)

A problem is the unit of work: finished ones are kept in `OUT.parts`, and the same call goes on after them. Nothing is
thrown away: what was refused is in OUT.refused.jsonl with its reason. Knows neither Ray nor the command line.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from berry.pipeline.config.run import RunConfig, plain
from berry.pipeline.config.sections.problems import FileProblems
from berry.pipeline.config.sections.variants import Easier, Harder, Numbers, Rephrase, Reseed, VariantKind, Variants
from berry.pipeline.engines.base import Engine
from berry.pipeline.engines.chat import Asker
from berry.pipeline.errors import ConfigError, EngineError, InputError, first_error
from berry.pipeline.stages.checking.responses import digest as digest_of_files
from berry.pipeline.stages.problems.decontamination import Decontamination
from berry.pipeline.stages.problems.sources import iter_problems, survey
from berry.pipeline.stages.variants import difficulty, renumber, rephrase, reseed
from berry.pipeline.stages.variants.attempts import Attempt, Refusal
from berry.pipeline.stages.variants.checkpoint import Checkpoint
from berry.pipeline.stages.variants.context import Original, VariantContext
from berry.pipeline.stages.variants.merge import Summary, merge, write
from berry.pipeline.storage.files import Location, locate
from berry.verifiers.checker import Checker
from berry.verifiers.judges import unknown_judge

_DECIDING = ("seed", "problems", "engine", "verification", "variants")


@dataclass(slots=True)
class VariantsProgress:
    """Where it stands. `kept` and `refused` count variants, before duplicates are looked for."""

    problems: int
    done: int = 0
    resumed: int = 0
    kept: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    """Inputs that were read and found good; nothing was started yet."""

    config: RunConfig
    variants: Variants
    location: Location
    name: str
    total: int
    checkpoint: Checkpoint
    decontamination: Decontamination
    resumed: int

    @property
    def wanted(self) -> int:
        """Problems to make variants of."""
        return min(self.total, self.variants.limit or self.total)

    @property
    def needs_engine(self) -> bool:
        """Whether anything is left for which an engine must run."""
        return self.resumed < self.wanted and any(uses_engine(kind) for kind in self.variants.kinds)


def uses_engine(kind: VariantKind) -> bool:
    """Whether making this kind of variant takes an engine."""
    return not isinstance(kind, Reseed) or kind.pass_rate is not None


def prepare(config: RunConfig, out: str, *, overwrite: bool = False) -> PreparedInputs:
    """Reads everything that can be wrong. Raises ConfigError, ProblemFileError, InputError."""
    if config.variants is None:
        raise ConfigError("variants is missing: say what to make, for example variants: {kinds: [{type: rephrase}]}")
    if not out.endswith(".jsonl"):
        raise InputError(f"--out must end in .jsonl, got {out!r}")
    folder, _, name = out.rpartition("/")
    location = locate(folder or ("/" if out.startswith("/") else "."))
    checks = config.verification
    found = survey(config.problems, fault=lambda problem: unknown_judge(problem.verifier, checks))
    checkpoint = Checkpoint(location, name, _digest(config))
    if location.exists(name) and not checkpoint.there and not overwrite:
        raise InputError(f"{out}: is there already; give another -o, or --overwrite")
    sources = [s.path for s in config.problems if isinstance(s, FileProblems)]
    if any(locate(path).path("") == location.path(name) for path in sources):
        raise InputError(f"{out}: is one of the problem files that are read; give another -o")
    decontamination = Decontamination(config.variants.screen)
    resumed = checkpoint.resume()
    return PreparedInputs(config, config.variants, location, name, found.count, checkpoint, decontamination, resumed)


def _digest(config: RunConfig) -> str:
    """blake2 of all that decides the result: the config's part in it, and the bytes of the files it names."""
    assert config.variants is not None
    whole = plain(config)
    rollout = {key: whole["rollout"][key] for key in ("sampling", "system_prompt", "verify_truncated")}
    paths = [s.path for s in config.problems if isinstance(s, FileProblems)] + list(config.variants.screen.files)
    chosen = {**{key: whole[key] for key in _DECIDING}, "rollout": rollout, "files": digest_of_files(*paths)}
    chosen["variants"] = {k: v for k, v in chosen["variants"].items() if k != "problems_in_flight"}
    return hashlib.blake2b(json.dumps(chosen, sort_keys=True).encode(), digest_size=16).hexdigest()


async def make(
    prepared: PreparedInputs,
    engine: Engine | None,
    checker: Checker,
    *,
    progress: Callable[[VariantsProgress], None] = lambda _: None,
) -> Summary:
    """Makes what is lacking and writes both files. `engine` and `checker` are started; None where `needs_engine` is
    False. Raises EngineError, StorageError; what is finished by then is kept for the next call."""
    if engine is None and prepared.needs_engine:
        raise EngineError("these kinds of variants need an engine")
    context = VariantContext(
        prepared.config, prepared.variants, checker, prepared.decontamination, None if engine is None else Asker(engine)
    )
    checkpoint = prepared.checkpoint
    told = VariantsProgress(prepared.wanted)
    for attempts in checkpoint.done.values():
        _count(told, attempts)
    told.resumed = told.done
    progress(told)
    gate = asyncio.Semaphore(prepared.variants.problems_in_flight or at_once(prepared.variants, engine))

    async def work(original: Original) -> None:
        try:
            attempts = await attempts_at(original, context)
        finally:
            gate.release()
        checkpoint.add(original.problem.id, attempts)
        _count(told, attempts)
        progress(told)

    try:
        async with asyncio.TaskGroup() as group:
            for original in islice(originals(prepared.config), prepared.variants.limit):
                if original.problem.id not in checkpoint.done:
                    await gate.acquire()
                    group.create_task(work(original))
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    finally:
        checkpoint.flush()
    everything = list(iter_problems(prepared.config.problems))
    problems, refusals, summary = merge(everything, checkpoint.done, prepared.variants, prepared.decontamination)
    write(prepared.location, prepared.name, problems, refusals)
    checkpoint.remove()
    return summary


def at_once(variants: Variants, engine: Engine | None) -> int:
    """Problems in flight that keep the engine full: twice its sequences over the answers drawn for one text."""
    seqs = 64 if engine is None else engine.info.max_num_seqs
    return max(2, math.ceil(2 * seqs / variants.samples))


def originals(config: RunConfig) -> Iterator[Original]:
    """Every problem with its source and its place there."""
    for source in config.problems:
        for index, problem in enumerate(iter_problems([source])):
            yield Original(problem, source, index)


async def attempts_at(original: Original, context: VariantContext) -> list[Attempt]:
    """All kinds of variants of one problem, together; the attempts in the order of the kinds."""
    kinds = context.variants.kinds
    if (near := context.decontamination.near(original.problem.text)) is not None:
        reason = Refusal.ORIGINAL_IN_EVALUATION
        return [Attempt(original.problem.id, kind.type).refused(reason, str(near)) for kind in kinds]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one_kind(kind, original, context)) for kind in kinds]
    finally:
        if original.sampled is not None and not original.sampled.done():
            original.sampled.cancel()
            with suppress(asyncio.CancelledError, EngineError):
                await original.sampled
    return [attempt for task in tasks for attempt in task.result()]


async def _one_kind(kind: VariantKind, original: Original, context: VariantContext) -> list[Attempt]:
    match kind:
        case Rephrase():
            return await rephrase.make(kind, original, context)
        case Numbers():
            return await renumber.make(kind, original, context)
        case Reseed():
            return await reseed.make(kind, original, context)
        case Harder() | Easier():
            return await difficulty.make(kind, original, context)


def _count(told: VariantsProgress, attempts: list[Attempt]) -> None:
    told.done += 1
    kept = sum(attempt.refusal is None for attempt in attempts)
    told.kept += kept
    told.refused += len(attempts) - kept
