from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.storage.files import Location, locate


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return locate(tmp_path / "run")
