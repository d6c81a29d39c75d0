"""Seeds and ids from content: the same problem, place in the tree and sample number give the same id and
seed, whatever the order of arrival and on whichever host.

    (problem, parent id, sample index) ─► node id (16 hex)
    (run seed, round, problem, node id, first index) ─► seed of a Generate (63 bits, the low 16 are zero)

Child i of a request for n children is drawn with `seed + i` (vLLM does the same), hence the zero low bits:
the seeds of two requests never overlap as long as n <= MAX_CHILDREN.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

MAX_CHILDREN = 1 << 16
_SEED_MASK = (1 << 63) - 1 - (MAX_CHILDREN - 1)


def digest(*parts: str | int, size: int = 8) -> bytes:
    """blake2b over length-prefixed parts, so that ("ab", "c") and ("a", "bc") differ."""
    text = "".join([f"{len(part)}:{part}," for part in map(str, parts)])
    return blake2b(text.encode(), digest_size=size).digest()


def share(*parts: str | int) -> float:
    """A number drawn evenly from [0, 1) by the content of `parts` alone."""
    return int.from_bytes(digest(*parts), "big") / 2**64


def root_id(problem_id: str) -> str:
    """Id of a problem's root node, 16 hex digits."""
    return digest("root", problem_id).hex()


def frame(*parts: str | int) -> str:
    """The first parts of a digest, framed once for all that begin with them."""
    return "".join([f"{len(part)}:{part}," for part in map(str, parts)])


def framed_id(first: str, index: int) -> str:
    """The id that `digest` gives parts of which the first are framed already."""
    at = str(index)
    return blake2b(f"{first}{len(at)}:{at},".encode(), digest_size=8).hexdigest()


def split_id(problem_id: str, origin_id: str, offset: int) -> str:
    """Id of the piece of segment `origin_id` that ends `offset` tokens after the segment's start. It depends
    on the place alone, so that cutting at a then b and at b then a name the same pieces."""
    return digest("split", problem_id, origin_id, offset).hex()


def trajectory_ids(run_seed: int, round_index: int, problem_id: str, leaves: Iterable[int]) -> list[str]:
    """Names the leaves that have these numbers in a tree. Unlike a number, an id differs between problems, rounds and
    runs, so that data sets can be joined: 16 hex digits that stand for those, and the number."""
    place = digest("trajectory", run_seed, round_index, problem_id).hex()
    return [f"{place}-{leaf}" for leaf in leaves]


def generate_seed(run_seed: int, round_index: int, problem_id: str, node: str, first_index: int) -> int:
    """Seed of the request for children `first_index …` of `node`; a multiple of MAX_CHILDREN below 2**63."""
    return framed_seed(frame("seed", run_seed, round_index, problem_id), node, first_index)


def framed_seed(first: str, node: str, first_index: int) -> int:
    """The seed that `generate_seed` gives, from parts of which the first are framed already."""
    at = str(first_index)
    raw = blake2b(f"{first}{len(node)}:{node},{len(at)}:{at},".encode(), digest_size=8).digest()
    return int.from_bytes(raw, "big") & _SEED_MASK
