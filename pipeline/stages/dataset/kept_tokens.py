"""Adds what each token of a kept trajectory is: its id, its log-probability, who wrote it.

paths of one tree ─► add_tokens ─► the columns token_ids, logprobs, segments

What lies above a leaf is put together once for all siblings.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from berry.pipeline.records import ASSISTANT, NO_ID, Node, ResponseSegment

_Author = tuple[str, str]  # version of the weights, engine


class _Above(NamedTuple):
    """The tokens above a leaf. `logprobs`: nats, 0 for what was given; None where a sampled segment has none. `author`:
    of all of them; None where there are several, or something was given."""

    tokens: array[int]
    logprobs: array[float] | None
    author: _Author | None


def add_tokens(columns: dict[str, Any], paths: Sequence[Sequence[Node]]) -> None:
    """Adds the tokens of trajectories of one tree, given as their paths without the root. Log-probabilities are one a
    token, 0 for what was given, and null where a sampled segment has none; ids are null where they are not known."""
    token_ids, logprobs, segments = columns["token_ids"], columns["logprobs"], columns["segments"]
    above_of: dict[str | None, _Above] = {}
    of_author: dict[tuple[_Author, int], list[ResponseSegment]] = {}  # one object for all of a length
    for path in paths:
        leaf = path[-1]
        parent = path[-2].node_id if len(path) > 1 else None
        above = above_of.get(parent)
        if above is None:
            above = above_of[parent] = _read_above(path[:-1])
        if has_ids(path):
            token_ids.add((above.tokens, leaf.token_ids))
        else:
            token_ids.add_null()
        own = _logprobs(leaf)
        if own is None or above.logprobs is None or (parent is None and leaf.logprobs is None):
            logprobs.add_null()
        else:
            logprobs.add((above.logprobs, own))
        author = leaf.weights_version, leaf.engine_id
        if leaf.role != ASSISTANT or (parent is not None and author != above.author):
            segments.append(segments_of(path))
            continue
        key = author, len(above.tokens) + len(leaf.token_ids)
        found = of_author.get(key)
        if found is None:
            found = of_author[key] = segments_of(path)
        segments.append(found)


def has_ids(path: Sequence[Node]) -> bool:
    """Whether the tokens of a path have ids: those of a hosted API's texts, which are one node each, have not."""
    first = path[0].token_ids if path else ()
    return not first or first[0] != NO_ID


def segments_of(path: Sequence[Node]) -> list[ResponseSegment]:
    """The stretches of a response by who wrote them; neighbours of the same author are one. They cover its tokens."""
    segments: list[ResponseSegment] = []
    start = 0
    for node in path:
        tokens = len(node.token_ids)
        author = node.role, node.weights_version, node.engine_id
        last = segments[-1] if segments else None
        if last is not None and (last.role, last.weights_version, last.engine_id) == author:
            segments[-1] = last._replace(tokens=last.tokens + tokens)
        elif tokens:
            segments.append(ResponseSegment(start, tokens, *author, trainable=node.role == ASSISTANT))
        start += tokens
    return segments


def _read_above(path: Sequence[Node]) -> _Above:
    tokens, logprobs = array("i"), array("f")
    known = True
    for node in path:
        tokens.extend(node.token_ids)
        own = _logprobs(node)
        known = known and own is not None
        logprobs.extend(own or ())
    authors = {(node.weights_version, node.engine_id) if node.role == ASSISTANT else None for node in path}
    return _Above(tokens, logprobs if known else None, authors.pop() if len(authors) == 1 else None)


def _logprobs(node: Node) -> Sequence[float] | None:
    if node.role != ASSISTANT:
        return [0.0] * len(node.token_ids)
    return node.logprobs if node.token_ids else ()
