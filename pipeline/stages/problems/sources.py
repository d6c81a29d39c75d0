"""Reads all problem sources of a run as one stream of validated `Problem` objects.

    for problem in iter_problems(sources): ...

Nothing is held but the current row, so ten million problems cost no memory; `survey` walks them once before a run, so
that a bad row is found, with its file and line, before any GPU or minute is spent.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar, cast

import numpy as np

from berry.pipeline.config.sections.problems import PROBLEM_SOURCES, ProblemsConfig, Screening
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.records import LONGEST_ID, Problem
from berry.pipeline.stages.problems.asked import hash_of
from berry.pipeline.stages.problems.base import Passing, ProblemReader
from berry.pipeline.stages.problems.screening import screen
from berry.verifiers.registry import check_extensions
from berry.verifiers.registry import fault as spec_fault

NO_SCREENING = Screening()
InModes = Callable[[Problem], Iterable[Problem]]
"""Gives a problem as it is searched: once in each mode where there are several (core/assignment/modes.py)."""
R = TypeVar("R", bound=type[Any])


def as_it_is(problem: Problem) -> Iterable[Problem]:
    """A problem of a run without modes."""
    return (problem,)


def one_engine(problem_id: str) -> str:
    """The engine of every problem where a run has one."""
    del problem_id
    return ""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a walk over all problems found: as they are searched, so that one in several modes counts for each."""

    count: int
    by_verifier: dict[str, int]
    digest: str  # blake2 of all ids, in order
    variants: int = 0  # problems made from others
    screening: dict[str, Any] = field(default_factory=dict)  # what the problems were held against (screening.Screened)
    by_engine: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)  # of programs that checks run, where problems name one
    asked: array[int] = field(default_factory=lambda: array("Q"))  # the hash of each, in order (asked.hash_of)


def survey(
    sources: Sequence[ProblemsConfig],
    screening: Screening = NO_SCREENING,
    fault: Callable[[Problem], str | None] | None = None,
    in_modes: InModes = as_it_is,
    engine_of: Callable[[str], str] = one_engine,
) -> Survey:
    """Validates every problem, leaves out those that overlap with evaluation sets where `screening` says so, and counts
    the others as `in_modes` gives them, by the engine that `engine_of` says. `fault` says why the run can do nothing
    with a problem. Raises ProblemFileError at the first that can't be used, and berry.verifiers.base.ExtensionError
    where two packages register one verifier."""
    check_extensions()
    screened = screen(screening)
    digest = hashlib.blake2b(digest_size=16)
    hashes, asked = array("Q"), array("Q")
    kinds: dict[str, int] = {}
    engines: dict[str, int] = {}
    languages: dict[str, int] = {}
    variants = 0
    for problem in iter_problems(sources):
        reason = spec_fault(problem.verifier)
        if reason is not None:
            raise ProblemFileError(
                f"problem {problem.id!r}: can't be checked: {reason}; correct it or leave the problem out"
            )
        left_out = screened.leaves_out(problem.id, problem.text)
        its_hash = hash_of(problem)
        for searched in in_modes(problem):
            if fault is not None and (reason := fault(searched)) is not None:
                raise ProblemFileError(f"problem {searched.id!r}: {reason}")
            if len(searched.id) > LONGEST_ID:
                raise ProblemFileError(
                    f"problem {problem.id!r}: with the name of its mode the id {searched.id!r} is longer than "
                    f"{LONGEST_ID} characters: shorten one of the two"
                )
            if left_out:
                continue
            hashed = hashlib.blake2b(searched.id.encode(), digest_size=8).digest()
            digest.update(hashed)
            hashes.append(int.from_bytes(hashed, "little"))
            asked.append(its_hash)
            kinds[searched.verifier.type] = kinds.get(searched.verifier.type, 0) + 1
            engine = engine_of(searched.id)
            engines[engine] = engines.get(engine, 0) + 1
            variants += problem.variant_of is not None
            language = getattr(searched.verifier, "language", None)
            if isinstance(language, str):
                languages[language] = languages.get(language, 0) + 1
    found = screened.record()
    if not hashes and found["overlapping"]:
        raise ProblemFileError(
            f"problems: all {found['looked_at']} overlap with the evaluation sets of screening.files; give other "
            "problems, or set screening.overlapping to tell"
        )
    if not hashes:
        raise ProblemFileError("problems: the sources hold no problem; give at least one")
    _refuse_duplicates(hashes, sources, in_modes)
    return Survey(len(hashes), kinds, digest.hexdigest(), variants, found, engines, languages, asked)


def _refuse_duplicates(hashes: array[int], sources: Sequence[ProblemsConfig], in_modes: InModes) -> None:
    """Sorting 8-byte hashes finds repeated ids: 80 MB, and as much again while they are sorted, of ten million."""
    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64))
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not repeated:
        return
    seen: set[str] = set()
    for problem in chain.from_iterable(map(in_modes, iter_problems(sources))):
        if int.from_bytes(hashlib.blake2b(problem.id.encode(), digest_size=8).digest(), "little") in repeated:
            if problem.id in seen:
                raise ProblemFileError(
                    f"problem id {problem.id!r} occurs twice: ids must differ over all sources of a run"
                )
            seen.add(problem.id)


def iter_problems(sources: Iterable[ProblemsConfig], passing: Passing | None = None) -> Iterator[Problem]:
    """The problems of every source, in order, one at a time, without those that `passing` takes."""
    for source in sources:
        reader = reader_of(source)
        problems = reader.problems() if passing is None else reader.not_passed(passing)
        given = source.template_args
        yield from (problem.with_template_args(given) for problem in problems) if given else problems


def reader_of(source: ProblemsConfig) -> ProblemReader[Any]:
    """The reader that `source` configures. Raises ConfigError where none is registered."""
    return cast("Callable[[ProblemsConfig], ProblemReader[Any]]", PROBLEM_SOURCES.get(source.type))(source)


def register_problems(reader: R) -> R:
    """Add a source of problems for this process, by the `type` of its `config`; also a class decorator. Other processes
    know only what an installed package announces as entry points `berry.problems`.

    Raises ConfigError where the name is taken, or the class can't be used.
    """
    PROBLEM_SOURCES.add(reader.config.model_fields["type"].default, reader)
    return reader
