"""The check's modules stand beside its tests, as they do on a machine that has nothing but them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
