"""How long fuzzing runs, and the garbage that it makes.

All generators together take about `FUZZ_S` seconds: some ten in every run of the tests, a minute by `make fuzz`, and as
long as is wanted by `make fuzz BERRY_FUZZ_S=600`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FUZZ_S = float(os.environ.get("BERRY_FUZZ_S", "10"))


def fuzzed(in_ten_seconds: int, *, deadline_ms: int | None = None) -> settings:
    """The settings of a generator: its number of examples where all generators together take ten seconds."""
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    examples = max(3, int(in_ten_seconds * FUZZ_S / 10))
    return settings(max_examples=examples, deadline=deadline_ms, suppress_health_check=slow)


def texts(pieces: Iterable[str], most: int = 30) -> st.SearchStrategy[str]:
    """Texts made of pieces that mean something to a reader, and of any characters at all."""
    piece = st.one_of(st.sampled_from(list(pieces)), st.text(max_size=8), st.integers(0, 10**6).map(str))
    return st.lists(piece, max_size=most).map("".join)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=15,
)
"""What `json` reads: NaN and the infinities among it."""
