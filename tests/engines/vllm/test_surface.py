"""The engine's module against releases of vLLM that can't be run here: the names and arguments it uses are there."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.engines.vllm import compat, host
from tests.engines.vllm.surface import USES, lacking, of_folder, of_wheel


def installed() -> Path:
    found = importlib.util.find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parents[1]


def test_the_installed_release_has_all_that_is_used() -> None:
    assert lacking(of_folder(installed())) == []


@pytest.mark.parametrize(("device", "tensor_parallel"), [("cpu", 1), ("gpu", 1), ("gpu", 2)])
def test_every_engine_argument_that_is_given_is_among_those_checked(
    device: str, tensor_parallel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "installed", lambda: compat.Installed("0.23.0", device))  # type: ignore[arg-type]
    config = VllmEngine(model="tiny-arithmetic", chunked_prefill=False, tensor_parallel_size=tensor_parallel)
    checked = next(set(use.names) for use in USES if use.owner == "EngineArgs")
    assert host.engine_arguments(config, "/model", compat.installed().device, 512).keys() <= checked


def test_what_a_release_lacks_is_named(tmp_path: Path) -> None:
    wheel = tmp_path / "vllm-0.99.0.whl"
    with zipfile.ZipFile(wheel, "w") as out:
        for name in {use.file for use in USES}:
            text = (installed() / name).read_text()
            if name.endswith("async_llm.py"):
                text = text.replace("async def resume_generation", "async def go_on").replace("clear_cache", "drop")
            if name.endswith("stats.py"):
                text = text.replace("class IterationStats", "class StepStats")
            if not name.endswith("pooler.py"):
                out.writestr(name, text)
    assert lacking(of_wheel(wheel)) == [
        "vllm/v1/engine/async_llm.py: AsyncLLM.pause_generation takes no clear_cache",
        "vllm/v1/engine/async_llm.py: AsyncLLM has no resume_generation",
        "vllm/v1/metrics/stats.py: IterationStats is not there",
        "vllm/config/pooler.py: PoolerConfig is not there",
    ]
