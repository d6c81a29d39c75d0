"""The benchmark of biases, whose truth and searches the tests use too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks import bias as benchmark


@pytest.fixture(scope="module")
def bias() -> Any:
    return benchmark
