"""With this folder on PYTHONPATH, every process of a Ray cluster changes modules of the pipeline as it imports them:
`faults` where BERRY_TEST_FAULTS is set, `counting` where BERRY_TEST_TOKENS is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

import counting
import faults

STORAGE, ENGINE = "berry.pipeline.storage.files", "berry.pipeline.engines.synthetic.engine"
PLANTS: dict[str, list[Callable[[Any], None]]] = {STORAGE: [], ENGINE: []}
if faults.PLACE:
    faults.jumping_clocks()
    PLANTS[STORAGE].append(faults.disk)
    PLANTS[ENGINE].append(faults.poison)
if counting.PLACE:
    PLANTS[ENGINE].append(counting.count)


class OnImport(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        plants = PLANTS.pop(name, None)
        if not plants:
            return None
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            for plant in plants:
                plant(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, OnImport())
