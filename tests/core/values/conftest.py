"""The benchmark of biases, whose truth and searches the tests use too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bias() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "bias.py"
    spec = importlib.util.spec_from_file_location("bias_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
