"""Finds the end of a segment that stops at a regular expression or a delimiter: the first token whose text completes
a match."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence

from berry.pipeline.errors import ConfigError


class RegexStop:
    """Fed with a segment's tokens as they come, in pieces of any size: the answer does not depend on the
    pieces."""

    def __init__(self, pattern: str, decode: Callable[[Sequence[int]], str]) -> None:
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"rollout.step.pattern {pattern!r} is no regular expression: {error}") from error
        self._decode = decode
        self._checked = 0

    def length(self, token_ids: Sequence[int]) -> int | None:
        """How many of `token_ids` (all since the segment's start) belong to it, or None: no match yet.

        An empty match does not count: a segment has at least one character.
        """
        for count in range(self._checked + 1, len(token_ids) + 1):
            self._checked = count
            match = self._pattern.search(self._decode(token_ids[:count]))
            if match is not None and match.end() > 0:
                return count
        return None


def delimited_length(
    token_ids: Sequence[int], delimiters: Sequence[str], decode: Callable[[Sequence[int]], str]
) -> int | None:
    """How many tokens there are up to and with the one that completes the first delimiter; None where there is none.

    An engine that accepts several drafted tokens in one step sees a stop string after the step alone, and hands over
    the tokens behind it too: they are no part of the segment, and what grows from it must not begin with them.
    """

    def is_complete(count: int) -> bool:
        text = decode(token_ids[:count])
        return any(delimiter in text for delimiter in delimiters)

    if not delimiters or not is_complete(len(token_ids)):
        return None
    return bisect_left(range(len(token_ids) + 1), True, lo=1, key=is_complete)  # noqa: FBT003
