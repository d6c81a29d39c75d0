"""Groups of similar texts: candidates by MinHash and locality-sensitive hashing (Broder 1997), compared exactly.

    texts ─► word shingles ─► candidates ─► exact Jaccard >= threshold ─► leader of each text

Leaders are found in the order given (leader clustering): a text joins the first leader it resembles, else leads.
Numbers and signs are words of their own, since a solution's numbers are what tells it from another.

Thousands of texts have millions of shingles. Those are held as 64-bit hashes: as strings in sets the garbage collector
would go through them all, and hold up the whole process meanwhile. Candidates are found by a checksum that is the same
in every process, so that the same pairs are missed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_FEW = 64  # texts up to which comparing all pairs is quicker than MinHash, and exact
PERMUTATIONS = 128  # of the MinHash by whose bands candidates are found on a disk
_FOUND = 0.98  # of the pairs just at the threshold
Hashes = NDArray[np.int64]
_WORD = re.compile(r"\w+|[^\w\s]")


def shingles(text: str, words: int) -> frozenset[str]:
    """Runs of `words` words; the whole text where it is shorter."""
    found = _WORD.findall(text.lower())
    if len(found) <= words:
        return frozenset([" ".join(found)])
    return frozenset(" ".join(found[i : i + words]) for i in range(len(found) - words + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Share of two sets' union that both have, in [0, 1]; at least one is not empty."""
    return len(a & b) / len(a | b)


def leaders(texts: Sequence[str], *, threshold: float, words: int, permutations: int) -> list[int]:
    """For each text the index of the text it resembles by at least `threshold`, or its own. Few texts are compared each
    with each; many through MinHash, which may miss a pair near the threshold."""
    found = (shingles(text, words) for text in texts)
    if len(texts) <= _FEW:
        sets = list(found)
        return _led(len(texts), _all_before, lambda i, j: jaccard(sets[i], sets[j]) >= threshold)
    hashes: list[Hashes] = []
    sums: list[Hashes] = []
    for own in found:
        hashes.append(np.sort(np.fromiter(map(hash, own), np.int64, len(own))))
        sums.append(np.fromiter((crc32(one.encode()) for one in own), np.int64, len(own)))
    candidates = _by_minhash(sums, threshold, permutations)
    return _led(len(texts), candidates, lambda i, j: _resemblance(hashes[i], hashes[j]) >= threshold)


def band_layout(threshold: float) -> tuple[int, int]:
    """Bands, and hashes a band, of a MinHash of `PERMUTATIONS` that finds at least 98% of the pairs whose Jaccard
    similarity is `threshold`: the longest bands that do, since long ones make the fewest other candidates."""
    lengths = (n for n in range(PERMUTATIONS, 1, -1) if 1 - (1 - threshold**n) ** (PERMUTATIONS // n) >= _FOUND)
    rows = next(lengths, 1)
    return PERMUTATIONS // rows, rows


def band_keys(texts: Sequence[str], *, words: int, threshold: float, of: Sequence[str]) -> NDArray[np.uint64]:
    """A key for each text and each band, shape (texts, bands): texts with a key in common are candidates. Texts of
    different `of` have none in common."""
    from datasketch import MinHash  # 0.8 s to import: only where it is used

    bands, rows = band_layout(threshold)
    contents = ([crc32(one.encode()) for one in shingles(text, words)] for text in texts)
    keys = np.empty((len(texts), bands), np.uint64)
    for at, sketch in enumerate(MinHash.generator(contents, num_perm=PERMUTATIONS, seed=1, hashfunc=int)):
        hashes, salt = sketch.hashvalues, of[at].encode()
        for band in range(bands):
            part = hashes[band * rows : (band + 1) * rows].tobytes()
            keys[at, band] = int.from_bytes(blake2b(part + salt, digest_size=8).digest(), "big")
    return keys


def _led(
    count: int, candidates: Callable[[int, list[int]], Iterable[int]], resemble: Callable[[int, int], bool]
) -> list[int]:
    leading: list[int] = []
    found: list[int] = []
    for i in range(count):
        leader = next((j for j in candidates(i, leading) if resemble(i, j)), i)
        if leader == i:
            leading.append(i)
        found.append(leader)
    return found


def _resemblance(a: Hashes, b: Hashes) -> float:
    """As `jaccard`, of two sets of shingles by their hashes, ascending."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def _all_before(_: int, leading: list[int]) -> Iterable[int]:
    return leading


def _by_minhash(
    sums: Sequence[Hashes], threshold: float, permutations: int
) -> Callable[[int, list[int]], Iterable[int]]:
    """Finds the leaders that may resemble text i, in the order of their indices."""
    from datasketch import MinHash, MinHashLSH  # 0.8 s to import: only where it is used

    # LSH misses some pairs just at its threshold: look a little below, the exact comparison decides.
    index = MinHashLSH(threshold=max(0.05, threshold - 0.1), num_perm=permutations)
    contents = (own.tolist() for own in sums)
    sketches = list(MinHash.generator(contents, num_perm=permutations, seed=1, hashfunc=int))
    indexed: set[int] = set()

    def candidates(i: int, leading: list[int]) -> Iterable[int]:
        for j in leading[len(indexed) :]:
            index.insert(j, sketches[j])
            indexed.add(j)
        return sorted(j for j in index.query(sketches[i]) if isinstance(j, int))

    return candidates
