from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.report.passes import pass_lines
from berry.pipeline.report.rounds import round_lines
from berry.pipeline.stages.training.reward_model import train_reward
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.run.directory import open_run
from berry.pipeline.storage.run.duckdb_views import connect
from berry.pipeline.storage.run.weights_file import read_weights

ROUNDS: dict[str, Any] = {
    "problems": [{"type": "synthetic", "count": 24, "seed": 3}],
    "rewards": {
        "training": {
            "backbone": {"type": "fresh", "layers": 1, "hidden": 16, "heads": 2},
            "epochs": 1,
            "per_problem": 3,
            "heldout_share": 0.3,
            "validation_share": 0.2,
        }
    },
    "rounds": {"count": 2, "train": ["prm"]},
    "storage": {"lease_problems": 8},
}

pytestmark = pytest.mark.slow


def shards(run: Path) -> dict[str, float]:
    return {str(p.relative_to(run)): p.stat().st_mtime for p in run.glob("round=0/*/shard-*.parquet")}


def test_two_rounds_with_a_prm_trained_between_them_and_a_kill_in_the_training(berry, until) -> None:
    config = berry.config(**ROUNDS)
    run = berry.folder / "r"
    process = berry.start("run", str(config), "--run", "r", "--local")
    plan = run / "round=0/weights/prm.training/checkpoints/plan.json"
    until(plan.exists, within_s=120, what="the training's start")
    assert not (run / "round=0/learned.json").exists()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = shards(run)
    assert len(before) == 3, "a file a table: those of the three leases are merged"

    code, out = berry.run("run", str(config), "--run", "r", "--local", timeout_s=240)
    assert code == 0, out
    assert "round 1 of 2" in out
    assert shards(run) == before  # nothing of the first round was done again
    assert {p.name for p in run.iterdir()} >= {"round=0", "round=1", "weights.json", "run.yaml"}
    assert {"kept", "nodes", "trajectories", "weights", "learned.json"} <= {p.name for p in (run / "round=0").iterdir()}
    assert not (run / "round=0/weights/prm.training").exists()

    stored = open_run(str(run))
    asked = "select count(*), count(prm) from nodes where parent is not null group by round order by round"
    first, second = connect(stored).execute(asked).fetchall()
    assert first[0] > first[1] == 0
    assert second[0] == second[1] > 0
    assert read_weights(stored.location).rewards["prm"].version == "prm-r0"
    lines = round_lines(stored)
    assert [line.rewards for line in lines] == ["", "prm-r0"]
    assert lines[0].heldout_problems == lines[1].heldout_problems > 0

    [passes] = pass_lines(stored)
    assert passes.engines is not None
    assert passes.engines > 0
    assert passes.reward_models == 0, "no PRM yet in the first round"
    assert passes.trained is not None
    assert passes.trained > 0
    assert passes.forward_a_backward == pytest.approx(1 + passes.engines / passes.trained)
    second_round = stored.metrics("round-1") or {}
    assert second_round["generated_tokens"] == second_round["ledger"]["generated"]
    assert second_round["forward_tokens"]["prm"] > 0

    code, out = berry.run("run", str(config), "--run", "r", "--local")
    assert code == 0
    assert "nothing to do" in out


def test_actors_end_while_two_processes_train_what_one_would(berry: Any) -> None:
    changes = json.loads(json.dumps(ROUNDS))
    changes["rewards"]["training"]["processes"] = 2
    roles = {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.5, "slots": 2, "max": 1}, "reward": {"cpus": 0.5}}
    cluster = {"name": "two", "nodes": {"host": {"cores": 2}}, "roles": roles}
    code, out = berry.run(
        "run", str(berry.config(**changes, cluster=cluster, report=False)), "--run", "r", timeout_s=500
    )
    assert code == 0, out
    assert "ending the actors, whose place the training takes" in out
    assert out.count("starting Ray") == 2, "they come back, with the new PRM"
    run = open_run(str(berry.folder / "r"))
    assert read_weights(run.location).rewards["prm"].version == "prm-r0"
    [(scored,)] = connect(run).execute("select count(prm) from nodes where round = 1").fetchall()
    assert scored > 0
    torch.set_num_threads(1)
    alone = RewardTraining.model_validate(ROUNDS["rewards"]["training"])
    train_reward(run, "prm", alone, rounds=[0], name="alone")
    one, two = (load_file(berry.folder / "r" / f / "model.safetensors") for f in ("alone", "round=0/weights/prm"))
    for name, weights in one.items():
        torch.testing.assert_close(weights, two[name], rtol=1e-4, atol=1e-5)


OVERLAP: dict[str, Any] = {
    "nodes": {"host": {"cores": 2}},
    "roles": {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.5, "slots": 2, "max": 1}, "train": {"cpus": 0.5}},
}


def test_a_round_generates_while_the_one_before_is_learned_from_and_both_are_killed(berry: Any, until: Any) -> None:
    rounds = {"count": 3, "train": ["prm"], "overlap": True}
    config = berry.config(**ROUNDS | {"rounds": rounds, "cluster": OVERLAP, "report": False})
    run = berry.folder / "r"
    process = berry.start("run", str(config), "--run", "r", "--local")
    until(
        (run / "round=0/weights/prm.training/checkpoints/plan.json").exists, within_s=120, what="the training's start"
    )
    until(lambda: list(run.glob("round=1/trajectories/*.parquet")), within_s=120, what="a commit of the next round")
    assert not (run / "round=0/learned.json").exists()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = shards(run)

    code, out = berry.run("run", str(config), "--run", "r", "--local", timeout_s=240)
    assert code == 0, out
    assert "learning from round 0 beside what is generated" in out
    assert "waiting for what is learned from round 0" in out, "round 2 is made with it"
    assert "behind" in out
    assert shards(run) == before
    stored = open_run(str(run))
    scored = connect(stored).execute("select round, count(prm) from nodes group by 1 order by 1").fetchall()
    assert [count > 0 for _, count in scored] == [False, False, True]
    lines = round_lines(stored)
    assert [line.rewards for line in lines] == ["", "", "prm-r0"]
    assert [line.staleness for line in lines] == [0, 1, 1]
    assert (run / "round=1/learned.json").exists(), "it ends with what the last training but one round gave"
    assert not (run / "round=2/learned.json").exists()
    code, out = berry.run("run", str(config), "--run", "r", "--local")
    assert code == 0
    assert "nothing to do" in out


def test_on_ray_actors_stay_while_others_train_the_generator_from_rows_of_older_weights(berry: Any) -> None:
    """The tiny model: the rows of the third round say that one version is between them and what they could have had."""
    changes: dict[str, Any] = {
        "problems": [{"type": "arithmetic", "count": 48, "seed": 21}],
        "engine": {
            "type": "vllm",
            "model": "tiny-arithmetic",
            "dtype": "float32",
            "max_model_len": 128,
            "max_num_seqs": 64,
        },
        "rollout": {
            "policy": {"type": "fixed", "branching": [2, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
            "sampling": {"temperature": 1.0, "max_tokens": 64},
        },
        "pruning": [{"type": "verdict"}],
        "rounds": {"count": 3, "train": [], "overlap": True, "policy": {"type": "sft", "epochs": 1, "min_kept": 4}},
        "storage": {"lease_problems": 16},
        "cluster": OVERLAP,
        "report": False,
    }
    code, out = berry.run("run", str(berry.config(**changes)), "--run", "r", timeout_s=400)
    assert code == 0, out
    assert "ending the actors" not in out
    assert out.count("starting Ray") == 1
    run = open_run(str(berry.folder / "r"))
    asked = "select round, list(distinct weights_version) from nodes where parent is not null group by 1 order by 1"
    assert connect(run).execute(asked).fetchall() == [(0, ["v0"]), (1, ["v0"]), (2, ["policy-r0"])]
    assert [line.staleness for line in round_lines(run)] == [0, 1, 1]
    card = json.loads((berry.folder / "r/round=1/weights/policy/card.json").read_text())
    assert card["rounds"] == [0, 1]


def test_what_the_labels_can_not_teach_stays_as_it_was(berry) -> None:
    config = berry.config(
        **ROUNDS | {"engine": {"type": "synthetic", "error_rate": [1.0, 1.0], "repair_rate": [0.0, 0.0]}}
    )
    code, out = berry.run("run", str(config), "--run", "r", "--local", timeout_s=240)
    assert code == 0, out
    assert "prm stays as it was: too few passing" in out
    learned = json.loads((berry.folder / "r/round=0/learned.json").read_text())
    assert learned["rewards"] == {}
    assert "too few passing" in learned["notes"][0]


@pytest.mark.parametrize("on_store", [False, True], ids=["disk", "store"])
def test_weights_pushed_into_a_running_run_are_taken_without_a_restart(
    berry: Any, until: Any, s3: Any, value_model: Any, tmp_path: Path, on_store: bool
) -> None:
    berry.environment = s3.env
    old, new = value_model(tmp_path / "old", "prm-old"), value_model(tmp_path / "new", "prm-new", 2)
    engine = {"type": "synthetic", "tokens_per_s": 40, "max_num_seqs": 24}
    config = berry.config(
        engine=engine,
        problems=ROUNDS["problems"],
        rewards={"prm": {"model": old}},
        storage={"lease_problems": 2, "compact": False},  # each lease says which version scored it
    )
    place = s3.url("runs/s") if on_store else str(berry.folder / "s")
    location = locate(place)
    process = berry.start("run", str(config), "--run", place, "--local")
    until(lambda: location.names("round=0/trajectories"), within_s=120, what="a commit")
    code, out = berry.run("weights", "push", place, new, "--what", "prm", "--version", "prm-new")
    assert code == 0, out
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    assert "new weights were pushed" in out
    assert "can't be taken" not in out
    marks = scored_by(location)
    assert marks[0] == "prm-old"
    assert marks[-1] == "prm-new"
    assert location.exists("round=0/weights/prm-new/config.json")


def scored_by(location: Location) -> list[str]:
    """The reward model's version of each lease, in the order of commits."""
    stamps = location.stamps("round=0/trajectories")
    names = sorted(stamps, key=lambda name: stamps[name][1])
    metadata = [location.read(f"round=0/trajectories/{name}", lambda f: pq.read_metadata(f).metadata) for name in names]
    return [json.loads(one[b"berry.rewards"])["prm"] for one in metadata]
