"""Opens and prepares run directories: a run's configuration, versions, rounds and lock.

runs/NAME/run.yaml        the configuration, defaults spelled out      versions.json   software, problems, digests
runs/NAME/round=0/{nodes,kept,trajectories}/shard-*.parquet            metrics/        the run's own measurements
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import yaml

from berry.pipeline.config.reading.loading import parse_yaml
from berry.pipeline.errors import ConfigError, ResourceError, StorageError
from berry.pipeline.storage import remote
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run import heartbeat
from berry.pipeline.storage.run.heartbeat import Presence, present

if TYPE_CHECKING:
    from berry.pipeline.config.run import RunConfig

_RESTORE = "put it back from a copy, or start a new run with --run DIR"


@dataclass(frozen=True, slots=True)
class RunDir:
    """A run directory, by the files that say what the run is."""

    location: Location

    def config(self) -> dict[str, Any] | None:
        """The stored configuration as plain data; None if the directory holds no run. Raises StorageError for a damaged
        file."""
        data = self.location.get("run.yaml")
        if data is None:
            return None
        try:
            stored = parse_yaml(data)
        except yaml.YAMLError as error:
            raise self._damaged("run.yaml", str(error).splitlines()[0]) from error
        if not isinstance(stored, dict):
            raise self._damaged("run.yaml", "it holds no configuration")
        return stored

    def versions(self) -> dict[str, Any]:
        """What the run is made with and of; empty if that is not written. Raises StorageError for a damaged file."""
        return self._read_json("versions.json") or {}

    def _read_json(self, name: str, *, remedy: str = _RESTORE) -> dict[str, Any] | None:
        data = self.location.get(name)
        if data is None:
            return None
        try:
            values = json.loads(data)
        except ValueError as error:
            raise self._damaged(name, str(error), remedy) from error
        if not isinstance(values, dict):
            raise self._damaged(name, "it holds no table of values", remedy)
        return values

    def _damaged(self, name: str, why: str, remedy: str = _RESTORE) -> StorageError:
        return StorageError(f"{self.location.show(name)}: is damaged ({why}); {remedy}")

    def rounds(self) -> list[int]:
        names = [n for n in self.location.folders() if n.startswith("round=")]
        return sorted(int(n.removeprefix("round=")) for n in names)

    def committed(self, round_index: int) -> set[int]:
        """Numbers of the leases that a round has committed."""
        return shard_files.committed(self.location, round_index)

    def journalled(self, round_index: int) -> set[int]:
        """Leases in flight when an earlier driver or worker died."""
        names = self.location.folders(f"round={round_index}/journal")
        return {int(n.removeprefix("lease-")) for n in names if n.startswith("lease-")}

    def write_metrics(self, name: str, values: dict[str, Any]) -> None:
        """Writes metrics/NAME.json, replacing an older one."""
        self.location.put(f"metrics/{name}.json", json.dumps(values, indent=1, default=str).encode())

    def metrics(self, name: str) -> dict[str, Any] | None:
        """What `write_metrics` wrote; None if nothing is there. Raises StorageError for a damaged file."""
        return self._read_json(f"metrics/{name}.json", remedy="remove it: it holds figures of the last driver alone")


def open_run(place: str) -> RunDir:
    """An existing run directory. Raises StorageError if there is none."""
    run = RunDir(locate(place))
    run.location.check_reachable()
    if run.config() is None:
        raise StorageError(f"{place}: holds no run (no run.yaml); give the directory that `berry run` printed")
    return run


REVISIONS = "revisions"


def revised_run(location: Location) -> RunDir:
    """The run in whose folder `revisions` a revision lies. Raises StorageError if there is none."""
    above, found, _ = location.url.partition("?")[0].rpartition(f"/{REVISIONS}/")
    if not found:
        raise StorageError(f"{location.url}: is no revision of a run (RUN/{REVISIONS}/NAME)")
    query = location.url.partition("?")[2]
    return open_run(f"{above}?{query}" if query else above)


def prepare(
    place: str,
    config: RunConfig,
    versions: dict[str, Any],
    files: Mapping[str, bytes] | None = None,
    *,
    otherwise: str = "start a new run with --fork NAME (or --run DIR)",
) -> tuple[RunDir, bool]:
    """Makes a run directory, with `files` in it beside its configuration, or opens it to resume; True if it resumes.
    `otherwise`: what to do instead where it holds another run.

    Raises ConfigError when the stored configuration or problems differ, ResourceError when it can't be written.
    """
    from berry.pipeline.config import run as run_config  # here: who only reads a run does without

    run = RunDir(locate(place))
    run.location.check_reachable()
    stored = run.config()
    if stored is not None:
        changed = run_config.differences(stored, config)
        if changed:
            listed = "\n  ".join(changed)
            new = otherwise if config.annotation is None else "make another annotation with --as NAME"
            raise ConfigError(
                f"{place} holds a run with another configuration:\n  {listed}\nRun it with the old values, or {new}"
            )
        old = run.versions().get("problems")
        if old is not None and old != versions["problems"]:
            raise ConfigError(
                f"{place}: the problems have changed since this run began ({old['count']} then, "
                f"{versions['problems']['count']} now, or other ids); restore the files, or use --fork NAME"
            )
        return run, True
    _check_writable(run.location, place)
    run.location.put("versions.json", json.dumps(versions, indent=1).encode())
    for name, data in (files or {}).items():
        run.location.put(name, data)
    text = run_config.dump(config).encode()
    if config.storage.site is None:
        run.location.put("run.yaml", text)
    elif not run.location.create("run.yaml", text):
        return prepare(
            place, config, versions, files, otherwise=otherwise
        )  # another site was first: is its configuration ours?
    return run, False


def _check_writable(location: Location, place: str) -> None:
    try:
        location.put(".probe", b"")
        location.remove(".probe")
    except StorageError as error:
        raise ResourceError(
            f"{place}: the run directory can't be written: {error}; choose another with --run DIR or storage.root"
        ) from error


@contextmanager
def locked(
    run: RunDir,
    *,
    site: str | None = None,
    silent_s: float = 60.0,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[Presence | None]:
    """Holds a run directory for one driver, or for one `site` of several. On a local disk the kernel lets go when the
    process dies, however it dies; where others may reach it, a sign of life says who is there. Raises StorageError if
    another driver holds it."""
    location = run.location
    with _flock(run, shared=site is not None) if location.is_local else nullcontext():
        if site is None and location.is_local and not location.folders(heartbeat.FOLDER):
            yield None
        elif site is None and not location.is_local and not remote.can_create(location.url):
            note(f"{location.url}: no package here can write only where nothing is, so do not start a second run there")
            yield None
        else:
            name = _ALONE if site is None else site
            excludes = partial(_excludes, site)
            with present(location, name, silent_s=silent_s, excludes=excludes, waiting=note) as held:
                yield held


_ALONE = "_alone"


def _excludes(site: str | None, other: str) -> bool:
    return site is None or other == _ALONE


@contextmanager
def _flock(run: RunDir, *, shared: bool) -> Iterator[None]:
    descriptor = os.open(run.location.path(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise StorageError(
                f"{run.location.url}: another `berry run` is writing here ({holder}); wait, choose --run DIR, or give "
                "each its own storage.site to share the work"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
