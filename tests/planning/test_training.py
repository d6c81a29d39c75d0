"""The training beside a round: its tokens, its time by its arithmetic, and what bounds the round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.cli.plan import build
from berry.pipeline.config.plan import Calibration
from berry.pipeline.config.reading.loading import load
from berry.pipeline.config.run import RunConfig
from berry.pipeline.planning.capacity import CapacityPlan, plan
from berry.pipeline.planning.models import model_sheet
from berry.pipeline.planning.runs import workload_of
from berry.pipeline.planning.training import TrainingPlan, train_flops, training_plan

OVERLAP = Path(__file__).resolve().parents[2] / "configs" / "recipes" / "overlap.yaml"


def planned(*overrides: str, **calibration: Any) -> tuple[TrainingPlan | None, CapacityPlan]:
    config = load(OVERLAP, list(overrides), RunConfig)
    made = plan(workload_of(config)[0], config.cluster, None, Calibration(**calibration))
    return training_plan(config, made), made


def test_forward_and_backward_are_six_flop_a_parameter() -> None:
    model = replace(model_sheet("llama-3.1-8b"), attention_width=0)
    assert train_flops(model, 1000) == pytest.approx(6 * model.active_parameters)
    assert train_flops(model, 1000, reference=True) == pytest.approx(8 * model.active_parameters)


def test_the_last_training_learns_from_what_all_rounds_before_it_kept() -> None:
    training, made = planned()
    assert training is not None
    w = made.workload
    a_round = w.problems * min(8, made.tree.leaves * w.kept) * (w.prompt_tokens + w.output_tokens)
    assert training.tokens == pytest.approx(a_round * 3 * 2)  # three trainings overlap, of two epochs


def test_a_gradient_learns_from_the_last_round_alone_once() -> None:
    training, made = planned("rounds.policy.type=grpo")
    assert training is not None
    w = made.workload
    assert training.tokens == pytest.approx(w.problems * made.tree.leaves * (w.prompt_tokens + w.output_tokens))


def test_twice_the_speed_or_processes_takes_half_the_time() -> None:
    slow, _ = planned(train_efficiency=0.2)
    fast, _ = planned(train_efficiency=0.4)
    two, _ = planned("rounds.policy.processes=2", "cluster.nodes.host.cores=3", train_efficiency=0.2)
    assert slow is not None
    assert fast is not None
    assert two is not None
    assert slow.hours is not None
    assert fast.hours == pytest.approx(slow.hours / 2)
    assert two.hours == pytest.approx(slow.hours / 2)
    assert (two.processes, two.cpus) == (2, 1.0)


def test_the_longer_of_the_two_binds() -> None:
    short, _ = planned("rounds.policy.most=16", train_efficiency=1.0)
    long, _ = planned(train_efficiency=0.001)
    assert short is not None
    assert long is not None
    assert (short.binds, long.binds) == ("generation", "training")


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("rounds.policy.type=dpo",), "pairs"),
        (("rounds.policy=null", "rounds.train=[prm]"), "reward models alone"),
        (("cluster.nodes.host.accelerator=h100", "cluster.nodes.host.gpus=2", "cluster.roles.train.gpus=1"), "h100"),
    ],
)
def test_what_cannot_be_known_is_null_and_says_why(overrides: tuple[str, ...], why: str) -> None:
    training, _ = planned(*overrides)
    assert training is not None
    assert training.hours is None
    assert training.binds is None
    assert why in training.why_unknown


def test_reward_models_come_on_top() -> None:
    training, _ = planned("rounds.train=[prm]", "rounds.policy.most=16", train_efficiency=1.0)
    assert training is not None
    assert training.hours is not None
    assert training.hours < training.round_hours
    assert training.binds is None  # theirs may be longer than what is left of the round


def test_rounds_in_turn_train_beside_nothing() -> None:
    assert planned("rounds.overlap=false")[0] is None


def test_the_command_has_rows_for_it() -> None:
    (_, rows), *_ = build(str(OVERLAP), ["calibration.train_efficiency=0.3"], [], prices=None, run=None).columns
    told = dict(rows)
    assert "1 × a process, 0.5 cores" in told["training beside a round"]
    assert "the round takes" in told["training: time"]
    assert told["a round is as long as its"] in ("generation", "training")
