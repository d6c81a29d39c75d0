"""A simulated prefix cache: the same counting as a paged engine's, without any cache.

    ids ─► chain of block keys ─► tokens that would have been read from the cache

Only full blocks are shared, and the last token of a prompt is always computed, as in vLLM. Least recently used blocks
go first.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b


class PrefixCache:
    """Blocks of `block_size` tokens, at most `capacity` of them; capacity 0: nothing is ever cached."""

    def __init__(self, block_size: int, capacity: int) -> None:
        self.block_size = block_size
        self.capacity = capacity
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    @property
    def usage(self) -> float:
        """Share of the blocks in use, in [0, 1]."""
        return len(self._blocks) / self.capacity if self.capacity else 0.0

    def lookup(self, prompt_ids: Sequence[int]) -> int:
        """Tokens of a prompt that are cached."""
        if not self._blocks:
            return 0
        found = 0
        for key in self._keys(prompt_ids, (len(prompt_ids) - 1) // self.block_size):
            if key not in self._blocks:
                break
            self._blocks.move_to_end(key)
            found += 1
        return found * self.block_size

    def store(self, ids: Sequence[int]) -> None:
        """Keep the full blocks of prompt and response."""
        if not self.capacity:
            return
        for key in self._keys(ids, len(ids) // self.block_size):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self.capacity:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        self._blocks.clear()

    def _keys(self, ids: Sequence[int], n_blocks: int) -> list[bytes]:
        size = 4 * self.block_size
        raw = array("i", ids[: n_blocks * self.block_size]).tobytes()
        keys: list[bytes] = []
        key = b""
        for start in range(0, n_blocks * size, size):
            key = blake2b(key + raw[start : start + size], digest_size=16).digest()
            keys.append(key)
        return keys
