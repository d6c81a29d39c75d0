"""Training the generator on trees: what is learned, that a step is the sum of its sequences, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from berry.pipeline.config.sections.rounds import DpoTraining, GrpoTraining, SftTraining
from berry.pipeline.engines import models, vocabulary
from berry.pipeline.errors import EngineError, InputError
from berry.pipeline.rewards.policy.batches import Passes, batches, steps
from berry.pipeline.rewards.policy.examples import PolicyTree, SiblingPair, digest, sequence
from berry.pipeline.rewards.policy.reference import reference_logprobs
from berry.pipeline.rewards.policy.trainer import finetune
from berry.pipeline.stages.problems import arithmetic

TINY = models.resolve("tiny-arithmetic")


@pytest.fixture(scope="module")
def trees() -> list[PolicyTree]:
    """Worked sums, each beside one with a wrong last figure, as trees that branch there."""
    speaks = vocabulary.of_folder(TINY)
    made: list[PolicyTree] = []
    for number, problem in enumerate(arithmetic.draw(24, seed=5)):
        prompt = [1, *speaks.encode(f"{problem.prompt}\n")]
        right = [*speaks.encode(arithmetic.worked(str(problem.prompt))), 2]
        wrong = [*right[:-2], right[-2] - 1 if right[-2] > 5 else right[-2] + 1, 2]
        made.append(PolicyTree(f"p{number}", [sequence(prompt, right), sequence(prompt, wrong)]))
    return made


def _right(trees: list[PolicyTree]) -> list[PolicyTree]:
    return [PolicyTree(tree.problem_id, tree.sequences[:1]) for tree in trees]


def _mean_logprobs(model: object, trees: list[PolicyTree]) -> np.ndarray:
    """Of each tree's sequences, in nats a trained token."""
    [batch] = batches(trees, Passes(100_000, 16))
    found = dict(zip(batch.pack.members, reference_logprobs(model, batch), strict=True))
    count = len(trees[0].sequences)
    flat = [found[i].sum() / max(s.trained_tokens, 1) for i, s in enumerate(s for t in trees for s in t.sequences)]
    return np.array(flat).reshape(-1, count)


def test_a_step_is_whole_problems_and_every_problem_is_in_one(trees: list[PolicyTree]) -> None:
    made = steps(trees, size=6, seed=1)
    assert sorted(number for step in made for number in step) == list(range(24))
    assert [len(step) for step in made] == [3] * 8
    assert made != steps(trees, size=6, seed=2)
    assert [len(step) for step in steps(trees[:7], size=6, seed=1)] == [3, 4], "two left over join the step before"


@pytest.mark.slow
def test_kept_responses_become_likelier_packed_or_not_and_alike(tmp_path: Path, trees: list[PolicyTree]) -> None:
    right = _right(trees)
    settings = SftTraining(epochs=2, batch_size=8, learning_rate=5e-4, packing="always")
    model, figures = finetune(TINY, right, settings, work=tmp_path / "a")
    assert (figures.steps, figures.trajectories, figures.packed) == (6, 24, True)
    assert figures.computed_tokens < sum(2 * len(s.ids) for tree in right for s in tree.sequences)
    untouched = AutoModelForCausalLM.from_pretrained(TINY)
    assert _mean_logprobs(model, right).mean() > _mean_logprobs(untouched, right).mean() + 0.01
    again, _ = finetune(TINY, right, settings, work=tmp_path / "b")
    padded, plain = finetune(TINY, right, settings.model_copy(update={"packing": "never"}), work=tmp_path / "c")
    assert not plain.packed
    for mine, same, other in zip(model.parameters(), again.parameters(), padded.parameters(), strict=True):
        assert torch.equal(mine, same)
        assert torch.allclose(mine, other, atol=2e-3), "rounding alone sets packed and padded apart"


@pytest.mark.slow
def test_grpo_and_dpo_move_towards_what_was_better(tmp_path: Path, trees: list[PolicyTree]) -> None:
    model = AutoModelForCausalLM.from_pretrained(TINY).eval()
    before = _mean_logprobs(model, trees)
    [batch] = batches(trees, Passes(100_000, 16))
    stored = dict(zip(batch.pack.members, reference_logprobs(model, batch), strict=True))
    sampled = [
        PolicyTree(
            tree.problem_id,
            [
                sequence(
                    s.ids[: len(s.ids) - s.trained_tokens].tolist(),
                    s.ids[len(s.ids) - s.trained_tokens :].tolist(),
                    weight=0.5,
                    advantages=[1.0 if side == 0 else -1.0] * s.trained_tokens,
                    logprobs=stored[2 * number + side][len(s.ids) - s.trained_tokens :].tolist(),
                )
                for side, s in enumerate(tree.sequences)
            ],
        )
        for number, tree in enumerate(trees)
    ]
    settings = GrpoTraining(batch_size=8, learning_rate=3e-4, kl=0.01)
    better, figures = finetune(TINY, sampled, settings, work=tmp_path / "grpo")
    margins = _mean_logprobs(better, trees) - before
    assert (margins[:, 0] - margins[:, 1]).mean() > 0.05
    assert figures.reference_tokens > 0

    pairs = [PolicyTree(t.problem_id, t.sequences, [SiblingPair(0, 1, len(t.sequences[0].ids) - 2)]) for t in trees]
    preferred, _ = finetune(TINY, pairs, DpoTraining(batch_size=8, learning_rate=1e-4, beta=0.5), work=tmp_path / "dpo")
    margins = _mean_logprobs(preferred, trees) - before
    assert (margins[:, 0] - margins[:, 1]).mean() > 0.05


def test_trajectories_of_other_weights_are_refused(tmp_path: Path, trees: list[PolicyTree]) -> None:
    foreign = [
        PolicyTree(
            tree.problem_id,
            [sequence([1], [5, 6, 7], weight=0.5, advantages=[a] * 3, logprobs=[-9.0] * 3) for a in (1.0, -1.0)],
        )
        for tree in trees[:4]
    ]
    with pytest.raises(InputError, match=r"nats a token away from those of the weights.*max_gap is 0.5"):
        finetune(TINY, foreign, GrpoTraining(), work=tmp_path / "w")


def test_a_loss_that_is_no_number_ends_the_training(
    tmp_path: Path, trees: list[PolicyTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    from berry.pipeline.rewards.policy.objectives.sft import Sft

    real = Sft.loss
    monkeypatch.setattr(Sft, "loss", lambda self, model, batch: real(self, model, batch) * float("nan"))
    with pytest.raises(InputError, match=r"loss of step 1 is nan.*learning_rate"):
        finetune(TINY, _right(trees)[:4], SftTraining(packing="never"), work=tmp_path / "w")


def test_a_trajectory_longer_than_a_pass_is_one_by_itself(tmp_path: Path, trees: list[PolicyTree]) -> None:
    settings = SftTraining(pack_tokens=16, packing="always", epochs=1, batch_size=8)
    _, figures = finetune(TINY, _right(trees), settings, work=tmp_path / "w")
    assert figures.packed
    assert figures.trained_tokens == sum(one.trained_tokens for tree in _right(trees) for one in tree.sequences)


def test_a_generator_that_is_not_there_is_named(tmp_path: Path, trees: list[PolicyTree]) -> None:
    with pytest.raises(EngineError, match="nowhere"):
        finetune(str(tmp_path / "nowhere"), trees, SftTraining(), work=tmp_path / "w")


def test_a_digest_covers_where_it_starts_and_what_it_learns(trees: list[PolicyTree]) -> None:
    assert digest("a", trees) == digest("a", list(trees))
    assert len({digest("a", trees), digest("b", trees), digest("a", trees[1:])}) == 3
