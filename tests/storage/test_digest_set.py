"""A set of digests on a disk says what a set in memory says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berry.pipeline.storage import digest_set
from berry.pipeline.storage.digest_set import DigestSet


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), held=st.integers(1, 40), part=st.integers(1, 60))
def test_it_holds_what_was_added_and_nothing_else(
    seed: int, held: int, part: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(seed)
    some = [bytes([0] * 8 + [n] * 8) for n in range(5)] + [bytes([255] * 8 + [n] * 8) for n in range(5)]
    some += [chance.randbytes(16) for _ in range(300)]  # the first ten differ in their second halves alone
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(digest_set, "HELD", held)
        patched.setattr(digest_set, "PART", part)
        folder = tmp_path_factory.mktemp("set")
        found, wanted = DigestSet(folder), set[bytes]()
        for _ in range(600):
            digest = chance.choice(some)
            assert (digest in found) == (digest in wanted)
            if digest not in wanted:
                found.add(digest)
                wanted.add(digest)
        assert [digest in found for digest in some] == [digest in wanted for digest in some]
    assert len(found) == len(wanted)
    assert len(list(folder.iterdir())) <= 2 * 6, "runs are merged, and what was merged is removed"


def test_runs_are_few_whatever_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_set, "HELD", 10)
    found, chance = DigestSet(tmp_path), random.Random(1)
    for _ in range(5_000):
        found.add(chance.randbytes(16))
    assert len(found) == 5_000
    assert len(list(tmp_path.iterdir())) <= 2 * 6
