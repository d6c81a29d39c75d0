"""Every config that ships loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.cli.eval_runs import runs_of
from berry.pipeline.config.reading.loading import load
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.evaluation import Evaluation
from berry.pipeline.core.placement import place_actors
from berry.pipeline.storage.files import locate

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
EVALUATIONS = {
    CONFIGS / "eval.yaml": [None, "fixed", "entropy"],
    CONFIGS / "eval_search.yaml": [
        None,
        *(name for name in ("beam", "dvts", "value", "entropy", "mcts") for _ in range(3)),
    ],
    CONFIGS / "recipes" / "gsm8k_curves.yaml": [None],
}
"""With the searches of each beside its independent samples."""
SHIPPED = sorted([*CONFIGS.glob("*.yaml"), *(CONFIGS / "recipes").glob("*.yaml")])
RUNS = [path for path in SHIPPED if path not in EVALUATIONS]


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_a_shipped_run_config_loads_and_fits_its_cluster(path: Path) -> None:
    config = load(path, [], RunConfig)
    assert place_actors(config.cluster).rollout.actors >= 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_run_config_opens_with_the_command_that_runs_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# berry ")
    assert f"configs/{path.relative_to(CONFIGS)}" in first


@pytest.mark.parametrize("path", EVALUATIONS, ids=lambda p: p.stem)
def test_a_shipped_evaluation_loads_with_all_its_runs(path: Path, tmp_path: Path) -> None:
    wanted = load(path, [], Evaluation)
    runs = runs_of(wanted, locate(tmp_path), path.parent)
    assert [run.search for run in runs] == EVALUATIONS[path]


def test_there_are_configs_to_load() -> None:
    assert {"demo", "tiny"} <= {p.stem for p in RUNS}
