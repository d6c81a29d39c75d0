"""Loads a configuration, starts a run and reads one: `berry.load_config`, `berry.run`, `berry.Run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from berry.pipeline.config.reading.loading import load
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ConfigError
from berry.pipeline.stages.dataset import reading
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.dataset.stream import KeptStream
from berry.pipeline.storage.files import under
from berry.pipeline.storage.run.directory import RunDir, open_run


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
        drive(config, Launch(run_dir=where, address=address, local=local), display)
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
        """The run directory, as a path or URL."""
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

    def stream(
        self, *, cursor: str | None = None, follow: bool = True, max_age: int | None = None, poll_s: float = 2.0
    ) -> KeptStream:
        """Kept trajectories as they are committed, each once; ends with the run, or at once if `follow` is false.

        The stream's `cursor` says what was given so far: stored beside what was made of the rows, and given back here,
        it goes on with the next one. `max_age` leaves out rounds that are more than so many behind the round whose
        weights serve now, 0 all but the newest. Rows are those of `kept`, with their `round`.

        >>> stream = berry.Run("runs/tiny").stream()                              # doctest: +SKIP
        >>> for row in stream:                                                    # doctest: +SKIP
        ...     train_on(row), save(stream.cursor)
        """
        return KeptStream(self.directory, cursor=cursor, follow=follow, max_age=max_age, poll_s=poll_s)
