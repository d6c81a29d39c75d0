"""Problems cut into leases, in order, always the same way: a lease's number alone says what it holds."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from berry.pipeline.config.problems import ProblemSource
from berry.pipeline.records import Problem
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.problems.sources import iter_problems
from berry.verifiers.specs.shipping import with_source_inlined


def iter_leases(
    sources: Sequence[ProblemSource],
    *,
    size: int,
    skip: Container[int],
    journalled: Container[int] = (),
    round_index: int = 0,
) -> Iterator[Lease]:
    """Lease k holds problems k·size … (k+1)·size - 1; those in `skip` (already committed) are left out, those in
    `journalled` go on from their journals. Lazy: holds one lease's problems at a time."""
    problems: Iterator[Problem] = iter_problems(sources)
    number = 0
    while batch := tuple(islice(problems, size)):
        if number not in skip:
            yield Lease(number, batch, resumed=number in journalled, round_index=round_index)
        number += 1


def packed(lease: Lease) -> Lease:
    """As it leaves for another machine: with what its checks name on this one."""
    specs = [with_source_inlined(problem.verifier) for problem in lease.problems]
    if all(spec is problem.verifier for spec, problem in zip(specs, lease.problems, strict=True)):
        return lease
    problems = [p.model_copy(update={"verifier": spec}) for p, spec in zip(lease.problems, specs, strict=True)]
    return replace(lease, problems=tuple(problems))
