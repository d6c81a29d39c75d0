"""The functions behind the public names of `berry`: verify, load_config, run, Run.

response + verifier ─► verify ─► Verdict
YAML + overrides ─► load_config ─► RunConfig ─► run ─► Run ─► trees, trajectories, kept
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from berry.pipeline.config.loading import load
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ConfigError, InputError, ResourceError
from berry.pipeline.records import Message, Problem
from berry.pipeline.stages.dataset import reading
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.storage.dataset import RunDir, open_run
from berry.pipeline.storage.files import under
from berry.verifiers.base import Verdict
from berry.verifiers.config import CheckerConfig
from berry.verifiers.context import CheckRequest


def verify(
    response: str,
    verifier: Mapping[str, Any],
    *,
    prompt: str | list[Message] = "-",
    checker: CheckerConfig | None = None,
) -> Verdict:
    """Check one response against a verifier specification, on this machine.

    `verifier` is the tagged object of problem files, for example ``{"type": "math", "answer": "42"}``. `prompt` is
    needed by the kinds that read it (judges, code completion). `checker` sets limits and sandboxes. The verdict says
    pass, fail or unverifiable, and why. Raises InputError where the specification is none, ResourceError where this
    host can't confine the program that a check would run.

    >>> import berry
    >>> verdict = berry.verify("It follows that the answer is \\\\boxed{42}.", {"type": "math", "answer": "42"})
    >>> verdict.passed, str(verdict.reason)
    (True, 'correct')
    """
    try:
        problem = TypeAdapter(Problem).validate_python({"id": "response", "prompt": prompt, "verifier": dict(verifier)})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise InputError(f"the verifier can't be read: {wrong}") from error
    text = "\n\n".join(message["content"] for message in problem.messages)
    request = CheckRequest(problem.id, problem.verifier, response, "" if prompt == "-" else text)
    return _to_its_end(_check(request, checker or CheckerConfig(slots=1)))


async def _check(request: CheckRequest, config: CheckerConfig) -> Verdict:
    from berry.sandboxes.base import SandboxError
    from berry.verifiers.checker import Checker

    try:
        async with Checker(config) as checker:
            return await checker.check(request)
    except SandboxError as error:
        raise ResourceError(str(error)) from error


def _to_its_end(work: Any) -> Any:
    """Run a coroutine to its end, in a thread of its own where this one has an event loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def load_config(path: str, *overrides: str) -> RunConfig:
    """Read a run's YAML configuration and check it; `overrides` are KEY=VALUE words as on the command line.

    Raises ConfigError that names file, key, value and remedy.

    >>> import berry
    >>> config = berry.load_config("configs/tiny.yaml", "seed=7", "problems.0.count=16")
    >>> config.seed, config.problems[0].count
    (7, 16)
    """
    return load(path, list(overrides), RunConfig)


def run(
    config: RunConfig | str,
    *overrides: str,
    place: str | None = None,
    local: bool = False,
    address: str | None = None,
) -> Run:
    """Run, or resume, a configuration to its end and return the run; progress goes to standard error.

    `config` is a path of a YAML file or a loaded configuration. `place` is the run directory (default: storage.root
    and the run's name), `address` a Ray cluster (default: RAY_ADDRESS, else one is started here), `local` runs
    everything in this process. A run that is stopped goes on when it is called again. Raises the errors of
    `berry.pipeline.errors`.

    >>> import berry
    >>> done = berry.run("configs/tiny.yaml", place="runs/tiny", local=True)      # doctest: +SKIP
    """
    from berry.pipeline.cli.progress import make_display
    from berry.pipeline.runtime.driver.outcome import Launch
    from berry.pipeline.runtime.driver.run import run as drive

    if isinstance(config, str):
        config = load_config(config, *overrides)
    elif overrides:
        raise ConfigError("overrides go with a path: a loaded configuration is changed with model_copy(update=…)")
    where = place or under(config.storage.root, config.name)
    with make_display() as display:
        drive(config, Launch(place=where, address=address, local=local), display)
    return Run(where)


@dataclass(frozen=True)
class Run:
    """A run directory, local or in an object store, opened for reading; a run in progress can be read too.

    Rows are plain dictionaries with the columns of the Parquet files. Everything is read lease by lease: memory does
    not grow with the run. Raises StorageError where there is no run or a file is damaged.

    >>> import berry
    >>> run = berry.Run("runs/tiny")                                              # doctest: +SKIP
    >>> [row["response"] for row in run.kept()][:1]                               # doctest: +SKIP
    """

    place: str

    def __post_init__(self) -> None:
        _ = self.directory

    @cached_property
    def directory(self) -> RunDir:
        """Where its files lie."""
        return open_run(self.place)

    @cached_property
    def config(self) -> RunConfig:
        """The configuration that it was made with, defaults spelled out."""
        return reading.stored_config(self.directory)

    @property
    def rounds(self) -> list[int]:
        """The rounds that have begun."""
        return self.directory.rounds()

    def trees(self, *, rounds: Iterable[int] | None = None) -> Iterator[StoredTree]:
        """Every committed tree, with its problem, its nodes and the rows of its trajectories."""
        return reading.read_trees(self.directory, rounds=rounds)

    def trajectories(self, *, rounds: Iterable[int] | None = None) -> Iterator[Row]:
        """Every leaf, kept or dropped, with its verdict and the reason of a drop."""
        for tree in self.trees(rounds=rounds):
            yield from tree.trajectories

    def kept(self, *, rounds: Iterable[int] | None = None) -> Iterator[Row]:
        """What a trainer reads: one self-contained row for each kept trajectory."""
        for tree in self.trees(rounds=rounds):
            yield from tree.kept
