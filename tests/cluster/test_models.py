"""Two vLLM engines of different models on three logical nodes: what one does not solve goes on to the other, a PRM
reads both, weights are pushed to one, both engines and the reward actor are killed. Every row says which model and
version made it, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from berry.pipeline.engines import models
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.stages.dataset.maintenance.repair import check_run
from berry.pipeline.stages.problems.arithmetic import draw
from berry.pipeline.storage.run.directory import open_run

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.engine]

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "recipes" / "escalate.yaml"
PROBLEMS = 80
CHECK_S = 0.5  # of waiting alone: two slots have forty seconds to do, in which engines mostly wait and all else fits
MADE_BY = (
    "select distinct mode, model, weights_version, split_part(engine_id, '-', 1) from '{}/nodes/*.parquet' "
    "where parent is not null and role = 'assistant' order by all"
)
ONCE = "select count(*), count(distinct trajectory_id) from '{}/trajectories/*.parquet'"
UNSOLVED = (
    "select split_part(problem_id, '@', 1) from '{}/trajectories/*.parquet' where mode = 'small' group by 1 "
    "having count(*) filter (verdict = 'pass') = 0 order by 1"
)
WENT_ON = (
    "select split_part(problem_id, '@', 1), count(*) from '{}/trajectories/*.parquet' where mode = 'large' "
    "group by 1 order by 1"
)
UNSCORED = (
    "select mode, count(*) filter (prm is null) from '{}/nodes/*.parquet' "
    "where parent is not null and role = 'assistant' group by 1 order by 1"
)


def prm(folder: Path) -> str:
    """A PRM that has learned nothing, over the tokens of the larger model."""
    from berry.pipeline.config.sections.rewards import FreshBackbone
    from berry.pipeline.rewards.model.card import NAME, Card
    from berry.pipeline.rewards.model.loading import fresh

    spoken = models.resolve("tiny-tool")
    speaks = vocabulary.of_folder(spoken)
    model = fresh(FreshBackbone(layers=1, hidden=16, heads=2, max_tokens=512), vocabulary_size=speaks.size, seed=1)
    model.inner.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(Path(spoken) / name, folder / name)
    card = Card(what="prm", version="untaught", backbone="fresh", vocabulary=speaks.fingerprint, synthetic=False)
    (folder / NAME).write_text(card.to_json())
    return str(folder)


def slowly_checked(folder: Path) -> dict[str, Any]:
    """A source of the recipe's own problems, whose checks also wait for CHECK_S."""
    slow = folder / "slow.py"
    slow.write_text(f"import time\n\n\ndef slow(response, prompt):\n    time.sleep({CHECK_S})\n    return True\n")
    lines = folder / "problems.jsonl"
    with lines.open("w") as file:
        for problem in draw(PROBLEMS, seed=21, operands=(4, 6)):
            row = problem.model_dump(mode="json", include={"id", "prompt", "verifier"})
            waits = {"type": "custom", "function": f"{slow}:slow"}
            row["verifier"] = {"type": "all_of", "parts": [row["verifier"], waits]}
            file.write(json.dumps(row) + "\n")
    return {"type": "file", "path": str(lines)}


@pytest.mark.timeout(900)
def test_two_models_share_a_run_through_a_push_and_kills(
    berry: Any, logical_nodes: Callable[..., Any], until: Callable[..., None], tmp_path: Path
) -> None:
    raw = yaml.safe_load(RECIPE.read_text())
    raw["problems"] = [slowly_checked(tmp_path)]
    raw["storage"] = {"lease_problems": 2, "compact": False}
    raw["rewards"] = {"prm": {"model": prm(tmp_path / "prm"), "backend": "transformers"}}
    for engine in raw["engines"].values():
        engine |= {"max_num_seqs": 2, "threads": 1, "role": {"cpus": 1, "per_node": 1}}
    raw["cluster"] = {
        "name": "logical",
        "nodes": {"node": {"count": 3, "cores": 2}},
        "roles": {"reward": {"cpus": 0.5, "max": 1}, "sandbox": {"cpus": 0.5, "slots": 1, "max": 2}},
    }
    nodes = logical_nodes(3)
    driver = berry.start("run", berry.config(raw), "--address", nodes.address)
    commits = berry.folder / "runs/job/round=0/trajectories"
    until(
        lambda: len(list(commits.glob("shard-*[02468].parquet"))) >= 2 or driver.poll() is not None,
        within_s=400,
        what="two committed leases of the first model",
    )
    assert driver.poll() is None, driver.communicate()[0]
    weights = models.resolve("tiny-arithmetic")
    code, out = berry.run("weights", "push", "runs/job", weights, "--engine", "small", "--version", "pushed")
    assert code == 0, out

    def used(version: str) -> bool:
        return any(its == version for _, _, its, _ in berry.query("runs/job", MADE_BY))

    until(
        lambda: driver.poll() is not None or (any(commits.glob("shard-*[13579].parquet")) and used("pushed")),
        within_s=400,
        what="committed leases of the pushed weights, and of what went on",
    )
    victims = [*nodes.actors("RolloutActor"), *nodes.actors("RewardActor")]
    assert len(victims) == 3, driver.communicate()[0] if driver.poll() is not None else "actors are not up"
    for victim in victims:
        victim.kill()
    out = driver.communicate(timeout=400)[0]
    assert driver.returncode == 0, out
    assert "handed out again" in out, out
    made_by = berry.query("runs/job", MADE_BY)
    assert {(mode, model, engine) for mode, model, _, engine in made_by} == {
        ("small", "tiny-arithmetic", "small"),
        ("large", "tiny-tool", "large"),
    }
    versions = {mode: {version for its, _, version, _ in made_by if its == mode} for mode in ("small", "large")}
    assert "pushed" in versions["small"]
    assert len(versions["small"]) == 2
    assert "pushed" not in versions["large"]
    trajectories, distinct = berry.query("runs/job", ONCE)[0]
    unsolved, went_on = berry.query("runs/job", UNSOLVED), berry.query("runs/job", WENT_ON)
    assert trajectories == distinct == 4 * (PROBLEMS + len(unsolved))
    assert went_on == [(problem, 4) for (problem,) in unsolved]
    assert 0 < len(unsolved) < PROBLEMS
    assert berry.query("runs/job", UNSCORED) == [("large", 0), ("small", 0)]
    assert check_run(open_run(str(berry.folder / "runs/job"))).faults == []
    code, out = berry.run("weights", "show", "runs/job")
    assert "small      pushed" in out
    assert "large      as configured" in out
