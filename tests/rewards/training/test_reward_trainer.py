from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from berry.pipeline.config.sections.rewards import FreshBackbone, Lora, RewardTraining
from berry.pipeline.rewards.model.loading import begin, fresh
from berry.pipeline.rewards.training import checkpoints
from berry.pipeline.rewards.training.evaluation import evaluate, score_paths
from berry.pipeline.rewards.training.examples import LabelledPath, TrainingSequence, balance_of, samples
from berry.pipeline.rewards.training.reward_trainer import train

WRONG, STEP = 7, 3
BACKBONE = FreshBackbone(layers=1, hidden=32, heads=2, max_tokens=64)
SETTINGS = RewardTraining(backbone=BACKBONE, epochs=6, batch_size=16, learning_rate=5e-3, evaluate_every=1.0)


def path(rng: random.Random, number: int) -> LabelledPath:
    """Steps of random tokens that are fine until one holds the token WRONG; after it nothing is."""
    tokens: list[int] = []
    ends: list[int] = []
    good: list[bool] = []
    for _ in range(4):
        step = [rng.randrange(10, 20) for _ in range(3)]
        if rng.random() < 0.2:
            step[rng.randrange(3)] = WRONG
        tokens += [*step, STEP]
        ends.append(len(tokens))
        good.append(WRONG not in tokens)
    return LabelledPath(
        problem_id=f"p{number // 4}",
        trajectory_id=f"t{number}",
        round_index=0,
        prompt_ids=(1, rng.randrange(10, 20)),
        response_ids=tuple(tokens),
        ends=tuple(ends),
        soft=tuple(float(g) for g in good),
        hard=tuple(good),
        visits=(2,) * 4,
        first=(True,) * 4,
        passed=good[-1],
        answer=str(good[-1]),
    )


def paths(count: int, seed: int) -> list[LabelledPath]:
    rng = random.Random(seed)
    return [path(rng, i) for i in range(count)]


def rows(made: list[LabelledPath], what: str) -> list[TrainingSequence]:
    return samples(made, what=what, targets="soft", min_visits=1, weigh_by_visits=True)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["prm", "orm"])
def test_a_value_model_learns_what_there_is_to_learn_and_its_baselines_do_not(tmp_path: Path, what) -> None:
    learn, check, held = paths(400, 1), paths(80, 2), paths(120, 3)
    model = fresh(BACKBONE, vocabulary_size=32, seed=0)
    good = sum(sum(w * t for w, t in zip(r.weights, r.targets, strict=True)) for r in rows(learn, what))
    weights = balance_of(good, sum(sum(r.weights) for r in rows(learn, what)) - good)
    train(model, rows(learn, what), rows(check, what), SETTINGS, work=tmp_path / "w", data="d", balance=weights)
    found = evaluate(
        what,
        score_paths(model, held),
        held,
        validation_scores=score_paths(model, check),
        validation=check,
        train=learn,
    )
    ours, constant, length = found.line(what), found.line("constant"), found.line("length")
    assert ours.auc is not None
    assert ours.auc > 0.95
    assert constant.auc == 0.5
    assert length.auc is not None
    assert length.auc < 0.8
    assert ours.calibration_error < 0.1  # though classes were balanced
    if what == "prm":
        assert ours.first_error_f1 is not None
        assert ours.first_error_f1 > 0.9
        assert (constant.first_error_f1 or 0.0) < 0.5
    best = found.best_of_n
    assert best["orm" if what == "orm" else "prm_last"] > best["random"] + 0.2
    assert best["verifier"] >= best["orm" if what == "orm" else "prm_last"]


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    learn, check = rows(paths(96, 1), "prm"), rows(paths(32, 2), "prm")
    settings = SETTINGS.model_copy(update={"epochs": 3.0})

    class Killed(Exception):
        pass

    def kill(share: float, _text: str) -> None:
        if share > 0.5:
            raise Killed

    whole = fresh(BACKBONE, vocabulary_size=32, seed=0)
    undisturbed = train(whole, learn, check, settings, work=tmp_path / "a", data="d")
    with pytest.raises(Killed):
        train(
            fresh(BACKBONE, vocabulary_size=32, seed=0),
            learn,
            check,
            settings,
            work=tmp_path / "b",
            data="d",
            progress=kill,
        )
    half = tmp_path / "b" / "checkpoint-999"  # as a process killed while writing leaves it
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"\0" * 10)
    model = fresh(BACKBONE, vocabulary_size=32, seed=0)
    said: list[str] = []

    def say(_share: float, text: str) -> None:
        said.append(text)

    resumed = train(model, learn, check, settings, work=tmp_path / "b", data="d", progress=say)
    assert resumed.resumed_from is not None
    assert said[0] == f"going on from step {resumed.resumed_from} of an interrupted training"
    assert resumed.removed_checkpoints >= 1
    assert resumed.steps == undisturbed.steps
    assert resumed.best_loss == pytest.approx(undisturbed.best_loss, rel=1e-4)
    for a, b in zip(whole.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_adapters_are_merged_into_plain_weights(tmp_path: Path) -> None:
    learn, check = rows(paths(48, 1), "prm"), rows(paths(16, 2), "prm")
    model = begin("tests/models/tiny-arithmetic")
    names = set(model.state_dict())
    before = model.state_dict()["inner.model.layers.0.self_attn.q_proj.weight"].clone()
    settings = SETTINGS.model_copy(update={"epochs": 1.0, "lora": Lora(rank=2, alpha=4), "learning_rate": 1e-2})
    train(model, learn, check, settings, work=tmp_path / "w", data="d")
    assert set(model.state_dict()) == names
    assert not torch.equal(before, model.state_dict()["inner.model.layers.0.self_attn.q_proj.weight"])
    assert float(next(model.head.parameters()).detach().abs().sum()) > 0


@pytest.mark.slow
def test_training_ends_early_when_validation_gets_no_better(tmp_path: Path) -> None:
    learn = rows(paths(32, 1), "prm")
    noise = [replace(row, targets=tuple(1 - t for t in row.targets)) for row in rows(paths(16, 2), "prm")]
    settings = SETTINGS.model_copy(update={"epochs": 40.0, "patience": 2})
    trained = train(fresh(BACKBONE, vocabulary_size=32, seed=0), learn, noise, settings, work=tmp_path / "w", data="d")
    assert trained.epochs < 20


# ---- quick ---------------------------------------------------------------------------------------------------------


def test_other_data_or_settings_start_anew(tmp_path: Path) -> None:
    work = tmp_path / "w"
    checkpoints.prepare(work, "one")
    (work / "checkpoint-5").mkdir()
    checkpoints.mark_whole(work / "checkpoint-5")
    assert checkpoints.prepare(work, "one").checkpoint == work / "checkpoint-5"
    assert checkpoints.prepare(work, "two").checkpoint is None
    assert not (work / "checkpoint-5").exists()


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    work = tmp_path / "w"
    checkpoints.prepare(work, "one")
    for step in (5, 10):
        (work / f"checkpoint-{step}").mkdir()
    checkpoints.mark_whole(work / "checkpoint-5")
    found = checkpoints.prepare(work, "one")
    assert (found.checkpoint, found.removed) == (work / "checkpoint-5", 1)
    assert json.loads((work / "plan.json").read_text())["plan"] == "one"


def test_a_shared_prefix_is_learned_once_and_an_unknown_label_never() -> None:
    one = replace(paths(1, 0)[0], first=(False, True, True, True), soft=(1.0, None, 0.5, 0.0), visits=(4, 0, 4, 1))
    made = samples([one], what="prm", targets="soft", min_visits=2, weigh_by_visits=False)
    assert made[0].positions == (2 + one.ends[2] - 1,)
    assert made[0].targets == (0.5,)
    assert samples([one], what="prm", targets="soft", min_visits=9, weigh_by_visits=False) == []


def test_balance_makes_good_and_bad_weigh_the_same() -> None:
    found = balance_of(1.25, 2.75)
    assert 1.25 * found.good == pytest.approx(2.75 * found.bad)
    assert 1.25 * found.good + 2.75 * found.bad == pytest.approx(4.0)
    assert balance_of(1.0, 0.0).logit_mean == 0.0
