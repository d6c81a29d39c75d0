"""Packs what a job takes along to a cluster: its configuration, whole, and the problem files of this machine.

    RunConfig ─► pack ─► FOLDER/job.yaml, FOLDER/problems/DIGEST/NAME ─► the shell line that runs it there

On the cluster problem files are put under $BERRY_CACHE/jobs by their content: submitted again, to the same cluster or
a new one, a job finds the same paths and resumes.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from berry.pipeline.config import run as run_config
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.problems import FileProblems
from berry.pipeline.errors import ConfigError

MOST_BYTES = 100 << 20
"""Ray keeps what is uploaded in the head's memory; more belongs on a store."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A packed job: its folder, and the shell line that runs it there."""

    folder: Path
    entrypoint: str


def check_run_dir(run_dir: str) -> None:
    """Raises ConfigError for a run directory that would end with the job's own folder on the head node."""
    if "://" not in run_dir and not Path(run_dir).is_absolute():
        raise ConfigError(
            f"{run_dir}: a submitted run needs a directory that every node of the cluster sees: give --run (or "
            "storage.root) a URL such as s3://bucket/runs, or an absolute path on a shared file system"
        )


def pack(config: RunConfig, folder: Path, *, run_dir: str, python: str = "python") -> Bundle:
    """Fills `folder` with job.yaml and problem files. Raises ConfigError for what can't go along."""
    check_run_dir(run_dir)
    (folder / "job.yaml").write_text(run_config.dump(config), encoding="utf-8")
    words: list[str] = []
    size = 0
    files = [(f"problems.{i}.path", s.path) for i, s in enumerate(config.problems) if isinstance(s, FileProblems)]
    files += [(f"screening.files.{i}", path) for i, path in enumerate(config.screening.files)]
    for key, name in files:
        if "://" in name:
            continue
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{key} {name}: no such file on this machine")
        size += path.stat().st_size
        if size > MOST_BYTES:
            raise ConfigError(
                f"{key} {name}: more than {MOST_BYTES >> 20} MiB of problem files can't go "
                "along with a job: put them on a store, and give their URL"
            )
        inside = f"{hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()}/{path.name}"
        (folder / "problems" / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / "problems" / inside)
        words.append(f'{key}="$d"/{shlex.quote(inside)}')
    run = f"exec {shlex.quote(python)} -m berry run job.yaml {' '.join([*words, '--run', shlex.quote(run_dir)])}"
    if words:
        run = f'd="${{BERRY_CACHE:-$HOME/.cache/berry}}/jobs" && mkdir -p "$d" && cp -r problems/. "$d" && {run}'
    return Bundle(folder, run)
