"""Keeps what a walk over a run's problems found, so that a run that is resumed does not walk over them again.

    first start  files' bytes ─► key    problems ─► survey ─► RUN/problems.survey.json (key, counts), problems.hashes
    resumption   files' bytes ─► key    the same key ─► the survey as it was; another ─► every problem is read

The key is of the bytes of every problem and screening file, of the configuration, and of the software that says what
can be checked. So a problem whose text or check has changed changes the key, all are read, and `asked.changes` names
those that are not what they were. The first thousand are read in any case, and held against their hashes.
"""

from __future__ import annotations

import hashlib
import json
import platform
from array import array
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from itertools import chain, islice
from typing import Any

import berry
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import in_modes
from berry.pipeline.errors import StorageError
from berry.pipeline.records import Problem
from berry.pipeline.stages.leases.partition import survey_run
from berry.pipeline.stages.problems import asked
from berry.pipeline.stages.problems.files import digest_of
from berry.pipeline.stages.problems.screening import screened_out
from berry.pipeline.stages.problems.sources import Survey, iter_problems, reader_of
from berry.pipeline.storage.files import Location
from berry.verifiers.registry import check_extensions
from berry.verifiers.registry import fault as spec_fault
from berry.verifiers.specs.union import OWN_KINDS

NAME = "problems.survey.json"  # in a run's directory
SAMPLE = 1000
"""Problems that are read although the key says that nothing has changed."""
CHECKED_WITH = ("math-verify", "sympy", "pydantic", "reasoning-gym", "pyarrow")
"""Packages that say what a problem is, or whether a response could be checked."""

Fault = Callable[[Problem], str | None]


def survey_or_recall(location: Location, config: RunConfig, fault: Fault | None) -> tuple[Survey, dict[str, bytes]]:
    """What is known of a run's problems, and the files in which its directory keeps that: recalled where nothing has
    changed since they were written, else found by a walk over all. `fault`: why the run can do nothing with a problem.
    Raises what `survey` raises, and StorageError."""
    check_extensions()
    key = _key(config)
    found = None if key is None else _recalled(location, config, fault, key)
    if found is None:
        found = survey_run(config, fault)
    hashes = asked.as_bytes(found.asked)
    files = {asked.NAME: hashes}
    if key is not None and found.by_verifier.keys() <= set(OWN_KINDS):
        counts = {field.name: getattr(found, field.name) for field in fields(Survey) if field.name != "asked"}
        files[NAME] = json.dumps({"key": key, "hashes": _digest(hashes), "survey": counts}, indent=1).encode()
    return found, files


def remember(location: Location, files: Mapping[str, bytes]) -> None:
    """Writes what was found of the problems of a run that goes on, where it keeps their hashes and that is not what it
    has of them. Only once they are known to be the ones that it began with. Raises StorageError."""
    survey = files.get(NAME)
    if survey is not None and location.exists(asked.NAME) and location.get(NAME) != survey:
        location.put(NAME, survey)


def _key(config: RunConfig) -> str | None:
    """Says all that a survey follows from; None where a source of another package can't."""
    prints = [reader_of(source).fingerprint() for source in config.problems]
    if None in prints:
        return None
    extensions = sorted(
        (group, entry.name, entry.value, "" if entry.dist is None else entry.dist.version)
        for group, entries in ((name, entry_points(group=name)) for name in ("berry.problems", "berry.verifiers"))
        for entry in entries
    )
    parts = [
        prints,
        [digest_of(path) for path in config.screening.files],
        config.model_dump_json(exclude={"storage", "cluster"}),
        [berry.__version__, platform.python_version(), *map(_version, CHECKED_WITH)],
        extensions,
    ]
    return _digest(json.dumps(parts).encode())


def _recalled(location: Location, config: RunConfig, fault: Fault | None, key: str) -> Survey | None:
    """What was found when the files were written; None where they are of other problems, damaged, not there or can't be
    read: whoever opens the run says why."""
    try:
        data = location.get(NAME)
    except StorageError:
        return None
    stored = None if data is None else _parsed(data)
    if stored is None or stored.get("key") != key:
        return None
    hashes = location.get(asked.NAME)
    if hashes is None or _digest(hashes) != stored.get("hashes"):
        return None
    try:
        survey = Survey(**stored["survey"], asked=array("Q", hashes))
    except (KeyError, TypeError, ValueError):
        return None
    return survey if len(survey.asked) == survey.count and _sample_agrees(survey, config, fault) else None


def _sample_agrees(survey: Survey, config: RunConfig, fault: Fault | None) -> bool:
    """Whether the first problems can be checked, and are those that the survey saw."""
    without = screened_out(survey.screening)
    given = (problem for problem in iter_problems(config.problems) if problem.id not in without)
    first = list(islice(chain.from_iterable(map(partial(in_modes, config), given)), SAMPLE))
    if any(spec_fault(p.verifier) or (fault is not None and fault(p)) for p in first):
        return False
    return [asked.hash_of(p) for p in first] == survey.asked[:SAMPLE].tolist()


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        stored = json.loads(data)
    except ValueError:
        return None
    return stored if isinstance(stored, dict) else None


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
