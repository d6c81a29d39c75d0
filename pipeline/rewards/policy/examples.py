"""Holds what the generator learns from: the sequences of one problem, with what an objective needs to know of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np

from berry.pipeline.rewards.packing.layout import Floats, Ints


@dataclass(frozen=True, slots=True)
class PolicySequence:
    """A prompt with its response, n tokens. Arrays have a number a token, 0 for those that teach nothing.

    `ids` [n]. `trained` [n]: whether the loss counts the token: sampled ones, never the prompt. `weight`: of the
    trajectory among its problem's. `advantages` [n]: by how much the token was better than expected. `logprobs` [n]: in
    nats, of the distribution that it was sampled from. None where the objective needs none.
    """

    ids: Ints
    trained: Floats
    weight: float = 1.0
    advantages: Floats | None = None
    logprobs: Floats | None = None

    @property
    def trained_tokens(self) -> int:
        """How many of its tokens are trained on."""
        return int(self.trained.sum())

    @property
    def keys(self) -> Ints:
        """Equal for tokens that may be shared: the same id with the same stored log-probability, since two samples of
        one token by different weights are not the same draw."""
        if self.logprobs is None:
            return self.ids
        return (self.ids << 32) | self.logprobs.astype(np.float32).view(np.uint32).astype(np.int64)


@dataclass(frozen=True, slots=True)
class SiblingPair:
    """Numbers of two of a problem's sequences, the first preferred, and how many first tokens they share."""

    chosen: int
    rejected: int
    shared: int


@dataclass(frozen=True, slots=True)
class PolicyTree:
    """What one problem teaches. `pairs`: for preferences alone."""

    problem_id: str
    sequences: Sequence[PolicySequence]
    pairs: Sequence[SiblingPair] = ()


class TreeSource(Protocol):
    """Trees in files, of which one is read at a time."""

    @property
    def sizes(self) -> Sequence[Sequence[int]]:
        """Of each file, how many sequences (pairs, where there are some) each of its trees has; 0: it teaches
        nothing."""
        ...

    @property
    def digest(self) -> str:
        """Of all that the trees are made of."""
        ...

    def read(self, file: int) -> Mapping[int, PolicyTree]:
        """The trees of a file that teach something, by their numbers in it. Raises StorageError."""
        ...


def every_tree(source: TreeSource) -> Iterator[PolicyTree]:
    """The trees of all files, file after file."""
    for file in range(len(source.sizes)):
        yield from source.read(file).values()


@dataclass(frozen=True)
class TreesInMemory:
    """Trees that are there already, as one file (`TreeSource`)."""

    trees: Sequence[PolicyTree]

    @property
    def sizes(self) -> Sequence[Sequence[int]]:
        return [[size_of(tree) for tree in self.trees]]

    @property
    def digest(self) -> str:
        return digest(self.trees)

    def read(self, file: int) -> Mapping[int, PolicyTree]:
        assert file == 0, "there is one"
        return {number: tree for number, tree in enumerate(self.trees) if size_of(tree)}


def size_of(tree: PolicyTree) -> int:
    """Sequences, or pairs where there are some; 0 where no token is trained on."""
    if not any(one.trained_tokens for one in tree.sequences):
        return 0
    return len(tree.pairs or tree.sequences)


def sequence(
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    *,
    trained: Sequence[bool] | None = None,
    weight: float = 1.0,
    advantages: Sequence[float] | None = None,
    logprobs: Sequence[float] | None = None,
) -> PolicySequence:
    """`trained`, `advantages` and `logprobs` have a number a response token; all of them are trained by default."""
    before = len(prompt_ids)

    def behind(values: Sequence[float]) -> Floats:
        made = np.zeros(before + len(response_ids), np.float32)
        made[before:] = values
        return made

    return PolicySequence(
        ids=np.array([*prompt_ids, *response_ids], np.int64),
        trained=behind([1.0] * len(response_ids) if trained is None else trained),
        weight=weight,
        advantages=None if advantages is None else behind(advantages),
        logprobs=None if logprobs is None else behind(logprobs),
    )


def digest(trees: Sequence[PolicyTree]) -> str:
    """Digest of all that a training learns from."""
    digester = blake2b(digest_size=16)
    for tree in trees:
        digester.update(repr((tree.problem_id, tree.pairs)).encode())
        for one in tree.sequences:
            digester.update(repr(one.weight).encode())
            for values in (one.ids, one.trained, one.advantages, one.logprobs):
                digester.update(b"-" if values is None else values.tobytes())
    return digester.hexdigest()
