"""Knows a problem's text and check by a hash, so that a run goes on only with what it began with.

    survey ─► a hash a problem ─► RUN/problems.hashes ─► changed: the ids of problems that are not what they were

A hash is a whole number of 64 bits: the upper half is of the prompt, the lower of the verifier. Ten million problems
take 80 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from berry.pipeline.records import Problem

if TYPE_CHECKING:
    from berry.pipeline.storage.files import Location

NAME = "problems.hashes"  # in a run's directory, little-endian, in the order of the problems
MOST_NAMED = 10


def hash_of(problem: Problem) -> int:
    """The hash of what is asked and how it is checked."""
    prompt = problem.prompt if isinstance(problem.prompt, str) else repr([sorted(m.items()) for m in problem.prompt])
    halves = prompt, problem.verifier.model_dump_json()
    return int.from_bytes(b"".join(blake2b(half.encode(), digest_size=4).digest() for half in halves), "big")


def as_bytes(hashes: array[int]) -> bytes:
    """The file of a run."""
    return hashes.tobytes()


@dataclass(frozen=True, slots=True)
class Changes:
    """The problems that are not what they were: whose `prompts`, and whose `verifiers` alone."""

    prompts: tuple[str, ...] = ()
    verifiers: tuple[str, ...] = ()

    def explain(self) -> str:
        """What has changed, with the first ids of each."""
        parts = [
            f"the {what} of {len(ids):,} ({', '.join(ids[:MOST_NAMED])}{', …' if len(ids) > MOST_NAMED else ''})"
            for what, ids in (("text", self.prompts), ("verifier", self.verifiers))
            if ids
        ]
        return " and ".join(parts)


def changes(location: Location, hashes: array[int], ids: Iterable[str]) -> Changes | None:
    """Holds the problems as they are now against those that a run began with; `ids` in the same order, read only where
    something differs. None where nothing does, or where the run did not store it. Raises StorageError."""
    data = location.get(NAME)
    if data is None or data == as_bytes(hashes):
        return None
    then = array("Q", data)
    prompts: list[str] = []
    verifiers: list[str] = []
    for problem_id, before, now in zip(ids, then, hashes, strict=False):
        if before >> 32 != now >> 32:
            prompts.append(problem_id)
        elif before != now:
            verifiers.append(problem_id)
    return Changes(tuple(prompts), tuple(verifiers))
