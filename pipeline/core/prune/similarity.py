"""Groups of similar texts: candidates by MinHash and locality-sensitive hashing (Broder 1997), compared exactly.

    texts ─► word shingles ─► candidates ─► exact Jaccard >= threshold ─► leader of each text

Leaders are found in the order given (leader clustering): a text joins the first leader it resembles, else leads.
Numbers and signs are words of their own, since a solution's numbers are what tells it from another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

_FEW = 64  # texts up to which comparing all pairs is quicker than MinHash, and exact
_WORD = re.compile(r"\w+|[^\w\s]")


def shingles(text: str, words: int) -> frozenset[str]:
    """Runs of `words` words; the whole text where it is shorter."""
    found = _WORD.findall(text.lower())
    if len(found) <= words:
        return frozenset([" ".join(found)])
    return frozenset(" ".join(found[i : i + words]) for i in range(len(found) - words + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def leaders(texts: Sequence[str], *, threshold: float, words: int, permutations: int) -> list[int]:
    """For each text the index of the text it resembles by at least `threshold`, or its own. Few texts are compared each
    with each; many through MinHash, which may miss a pair near the threshold."""
    sets = [shingles(text, words) for text in texts]
    candidates = _all_before if len(sets) <= _FEW else _by_minhash(sets, threshold, permutations)
    leading: list[int] = []
    found: list[int] = []
    for i, own in enumerate(sets):
        leader = next((j for j in candidates(i, leading) if jaccard(own, sets[j]) >= threshold), i)
        if leader == i:
            leading.append(i)
        found.append(leader)
    while sets:  # one by one: freed all at once, those of thousands of texts hold up the process's other threads
        sets.pop()
    return found


def _all_before(_: int, leading: list[int]) -> Iterable[int]:
    return leading


def _by_minhash(
    sets: Sequence[frozenset[str]], threshold: float, permutations: int
) -> Callable[[int, list[int]], Iterable[int]]:
    """Finds the leaders that may resemble text i, in the order of their indices."""
    from datasketch import MinHash, MinHashLSH  # 0.8 s to import: only where it is used

    # LSH misses some pairs just at its threshold: look a little below, the exact comparison decides.
    index = MinHashLSH(threshold=max(0.05, threshold - 0.1), num_perm=permutations)
    contents = ([shingle.encode() for shingle in sorted(own)] for own in sets)
    sketches = list(MinHash.generator(contents, num_perm=permutations, seed=1))
    indexed: set[int] = set()

    def candidates(i: int, leading: list[int]) -> Iterable[int]:
        for j in leading[len(indexed) :]:
            index.insert(j, sketches[j])
            indexed.add(j)
        return sorted(j for j in index.query(sketches[i]) if isinstance(j, int))

    return candidates
