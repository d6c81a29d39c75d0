"""Simulates a prefix cache: counts as a paged engine does, and stores nothing.

    ids ─► chain of block keys ─► tokens that would have been read from the cache

Only full blocks are shared, and the last token of a prompt is always computed, as in vLLM. Least recently used blocks
go first.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt's last block key and the tokens after its full blocks."""

    key: bytes
    rest: tuple[int, ...]


class SimulatedPrefixCache:
    """Blocks of `block_size` tokens, at most `capacity` of them; capacity 0: nothing is ever cached."""

    def __init__(self, block_size: int, capacity: int) -> None:
        self.block_size = block_size
        self.capacity = capacity
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    @property
    def usage(self) -> float:
        """Share of the blocks in use, in [0, 1]."""
        return len(self._blocks) / self.capacity if self.capacity else 0.0

    def lookup(self, prompt_ids: Sequence[int]) -> tuple[int, Prefix]:
        """Tokens of a prompt that are cached, and the prompt for `store`."""
        if not self.capacity:
            return 0, Prefix(b"", ())
        cached_blocks = 0
        key = b""
        known = True
        limit = len(prompt_ids) - 1
        n_full = len(prompt_ids) // self.block_size
        for start, block in self._blocks_of(prompt_ids[: n_full * self.block_size]):
            key = blake2b(key + block, digest_size=16).digest()
            known = known and key in self._blocks and start + self.block_size <= limit
            cached_blocks += known
            self._touch(key)
        return cached_blocks * self.block_size, Prefix(key, tuple(prompt_ids[n_full * self.block_size :]))

    def store(self, prefix: Prefix, response_ids: Sequence[int]) -> None:
        """Keep the full blocks of a response to a prompt that was looked up."""
        if not self.capacity:
            return
        key = prefix.key
        ids = (*prefix.rest, *response_ids)
        for _, block in self._blocks_of(ids[: len(ids) - len(ids) % self.block_size]):
            key = blake2b(key + block, digest_size=16).digest()
            self._touch(key)

    def clear(self) -> None:
        """Forgets all blocks, as an engine does when it takes new weights."""
        self._blocks.clear()

    def _touch(self, key: bytes) -> None:
        blocks = self._blocks
        if key in blocks:
            blocks.move_to_end(key)
            return
        blocks[key] = None
        if len(blocks) > self.capacity:
            blocks.popitem(last=False)

    def _blocks_of(self, ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """(first token, content) of each block; `ids` are full blocks."""
        raw = array("i", ids).tobytes()
        size = 4 * self.block_size
        for at in range(0, len(raw), size):
            yield at // 4, raw[at : at + size]
