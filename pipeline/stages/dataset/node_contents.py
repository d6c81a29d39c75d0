"""Keeps token ids, log-probabilities and texts of a stored tree's nodes in a file, so that they take no memory.

    tokens (int32) │ log-probabilities (float32), where there are any │ text (UTF-8)        node after node

The file has no name and goes with its reader; up to `IN_MEMORY_BYTES` it is no file but memory. It lies where `TMPDIR`
says.
"""

from __future__ import annotations

from array import array
from tempfile import SpooledTemporaryFile
from typing import IO, cast

IN_MEMORY_BYTES = 4 << 20
_NUMBER_BYTES = 4


class NodeContents:
    """What nodes hold, by their number in the order in which they were added. Who reads it says how many tokens a node
    has, and whether log-probabilities."""

    def __init__(self) -> None:
        self._file = cast("IO[bytes]", SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))  # noqa: SIM115
        self._starts = array("q", (0,))

    def __del__(self) -> None:
        self._file.close()

    def add(self, tokens: array[int], logprobs: array[float] | None, text: str | None) -> None:
        """Adds a node's."""
        parts = [tokens.tobytes(), b"" if logprobs is None else logprobs.tobytes(), (text or "").encode(*_UTF8)]
        self._file.write(b"".join(parts))
        self._starts.append(self._starts[-1] + sum(map(len, parts)))

    def tokens(self, number: int, n: int) -> array[int]:
        """The `n` token ids of a node."""
        return array("i", self._read(self._starts[number], n * _NUMBER_BYTES))

    def logprobs(self, number: int, n: int) -> array[float]:
        """The `n` log-probabilities of a node that has some, in nats."""
        return array("f", self._read(self._starts[number] + n * _NUMBER_BYTES, n * _NUMBER_BYTES))

    def text(self, number: int, numbers: int) -> str:
        """The text behind a node's `numbers` ids and log-probabilities."""
        start = self._starts[number] + numbers * _NUMBER_BYTES
        return self._read(start, self._starts[number + 1] - start).decode(*_UTF8)

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)


_UTF8 = ("utf-8", "surrogatepass")
