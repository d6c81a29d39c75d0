"""Training the generator on trees: what is learned, that a step is the sum of its sequences, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from berry.pipeline.config.sections.rounds import DpoTraining, GrpoTraining, SftTraining
from berry.pipeline.engines import models
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import EngineError, InputError
from berry.pipeline.rewards.policy import trainer
from berry.pipeline.rewards.policy.batches import Passes, batches
from berry.pipeline.rewards.policy.examples import PolicyTree, SiblingPair, TreesInMemory, digest, sequence
from berry.pipeline.rewards.policy.reference import reference_logprobs
from berry.pipeline.rewards.policy.step_reader import StepReader
from berry.pipeline.rewards.policy.trainer import finetune
from berry.pipeline.rewards.training.step_order import StepOrder
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


def _right_above_wrong(trees: list[PolicyTree]) -> list[PolicyTree]:
    """Advantages 1 and -1 of each tree's two sequences, whose tokens were sampled at -1 nat each."""
    return [
        PolicyTree(
            t.problem_id,
            [
                replace(s, advantages=a * s.trained, logprobs=-s.trained)
                for s, a in zip(t.sequences, (1.0, -1.0), strict=True)
            ],
        )
        for t in trees
    ]


def _mean_logprobs(model: object, trees: list[PolicyTree]) -> np.ndarray:
    """Of each tree's sequences, in nats a trained token."""
    [batch] = batches(trees, Passes(100_000, 16))
    found = dict(zip(batch.pack.members, reference_logprobs(model, batch), strict=True))
    count = len(trees[0].sequences)
    flat = [found[i].sum() / max(s.trained_tokens, 1) for i, s in enumerate(s for t in trees for s in t.sequences)]
    return np.array(flat).reshape(-1, count)


@pytest.mark.slow
def test_kept_responses_become_likelier_packed_or_not_and_alike(tmp_path: Path, trees: list[PolicyTree]) -> None:
    right = _right(trees)
    settings = SftTraining(epochs=2, batch_size=8, learning_rate=5e-4, packing="always")
    model, figures = finetune(TINY, TreesInMemory(right), settings, work=tmp_path / "a")
    assert (figures.steps, figures.packed) == (6, True)
    assert figures.computed_tokens < sum(2 * len(s.ids) for tree in right for s in tree.sequences)
    untouched = AutoModelForCausalLM.from_pretrained(TINY)
    assert _mean_logprobs(model, right).mean() > _mean_logprobs(untouched, right).mean() + 0.01
    again, _ = finetune(TINY, TreesInMemory(right), settings, work=tmp_path / "b")
    padded, plain = finetune(
        TINY, TreesInMemory(right), settings.model_copy(update={"packing": "never"}), work=tmp_path / "c"
    )
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
    better, figures = finetune(TINY, TreesInMemory(sampled), settings, work=tmp_path / "grpo")
    margins = _mean_logprobs(better, trees) - before
    assert (margins[:, 0] - margins[:, 1]).mean() > 0.05
    assert figures.reference_tokens > 0

    pairs = [PolicyTree(t.problem_id, t.sequences, [SiblingPair(0, 1, len(t.sequences[0].ids) - 2)]) for t in trees]
    preferred, _ = finetune(
        TINY, TreesInMemory(pairs), DpoTraining(batch_size=8, learning_rate=1e-4, beta=0.5), work=tmp_path / "dpo"
    )
    margins = _mean_logprobs(preferred, trees) - before
    assert (margins[:, 0] - margins[:, 1]).mean() > 0.03, "three steps"


def test_trajectories_of_other_weights_are_refused(tmp_path: Path, trees: list[PolicyTree]) -> None:
    foreign = [
        PolicyTree(
            tree.problem_id,
            [sequence([1], [5, 6, 7], weight=0.5, advantages=[a] * 3, logprobs=[-9.0] * 3) for a in (1.0, -1.0)],
        )
        for tree in trees[:4]
    ]
    with pytest.raises(InputError, match=r"nats a token away from those of the weights.*max_gap is 0.5"):
        finetune(TINY, TreesInMemory(foreign), GrpoTraining(), work=tmp_path / "w")


def test_a_loss_that_is_no_number_ends_the_training(
    tmp_path: Path, trees: list[PolicyTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    from berry.pipeline.rewards.policy.objectives.sft import Sft

    real = Sft.loss
    monkeypatch.setattr(Sft, "loss", lambda self, model, batch: real(self, model, batch) * float("nan"))
    with pytest.raises(InputError, match=r"loss of step 1 is nan.*learning_rate"):
        finetune(TINY, TreesInMemory(_right(trees)[:4]), SftTraining(packing="never"), work=tmp_path / "w")


def test_ratios_that_explode_end_the_training(tmp_path: Path, trees: list[PolicyTree]) -> None:
    made = _right_above_wrong(trees)
    settings = GrpoTraining(batch_size=8, learning_rate=1.0, max_gap=2.5, epochs=2, warmup_share=0.0)
    with pytest.raises(InputError, match=r"ratios .* have exploded .*: the new weights are thrown away; lower rounds"):
        finetune(TINY, TreesInMemory(made), settings, work=tmp_path / "w")


def test_a_trajectory_longer_than_a_pass_is_one_by_itself(tmp_path: Path, trees: list[PolicyTree]) -> None:
    settings = SftTraining(pack_tokens=16, packing="always", epochs=1, batch_size=8)
    _, figures = finetune(TINY, TreesInMemory(_right(trees)), settings, work=tmp_path / "w")
    assert figures.packed
    assert figures.trained_tokens == sum(one.trained_tokens for tree in _right(trees) for one in tree.sequences)


def test_a_generator_that_is_not_there_is_named(tmp_path: Path, trees: list[PolicyTree]) -> None:
    with pytest.raises(EngineError, match="nowhere"):
        finetune(str(tmp_path / "nowhere"), TreesInMemory(trees), SftTraining(), work=tmp_path / "w")


def test_a_digest_covers_what_is_learned(trees: list[PolicyTree]) -> None:
    assert digest(trees) == digest(list(trees)) != digest(trees[1:])


class _Files:
    """Trees in files of six; says which were read, and how many trees are in memory at most."""

    def __init__(self, trees: list[PolicyTree]) -> None:
        self.trees = trees
        self.sizes = [[len(t.sequences) for t in trees[at : at + 6]] for at in range(0, len(trees), 6)]
        self.digest = digest(trees)
        self.reads: list[int] = []

    def read(self, file: int) -> dict[int, PolicyTree]:
        self.reads.append(file)
        return dict(enumerate(self.trees[6 * file : 6 * file + 6]))


def test_steps_are_read_file_by_file_and_a_later_one_reads_no_file_that_is_used_up(trees: list[PolicyTree]) -> None:
    source = _Files(trees)
    order = StepOrder(source.sizes, step_size=4, buffer=8, seed=3, epochs=2)
    reader = StepReader(source, order)
    whole = [[t.problem_id for t in reader.read(n)] for n in range(order.total)]
    assert sorted(name for step in whole for name in step) == sorted([t.problem_id for t in trees] * 2)
    assert sorted(source.reads) == [0, 0, 1, 1, 2, 2, 3, 3], "each file once an epoch"
    late = _Files(trees)
    at = order.steps_an_epoch - 1
    assert [t.problem_id for t in StepReader(late, order).read(at)] == whole[at]
    assert len(late.reads) < 4
    assert [t.problem_id for t in reader.read(2)] == whole[2], "an earlier one is read again"


def test_processes_share_a_step_and_nothing_is_lost_or_done_twice(trees: list[PolicyTree]) -> None:
    order = StepOrder(_Files(trees).sizes, step_size=10, buffer=20, seed=3)
    alone = StepReader(_Files(trees), order)
    shared = [StepReader(_Files(trees), order, (rank, 3)) for rank in range(3)]
    for number in range(order.total):
        parts = [[t.problem_id for t in reader.read(number)] for reader in shared]
        assert sorted(name for part in parts for name in part) == sorted(t.problem_id for t in alone.read(number))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_reference_that_is_the_start_itself_reads_the_first_steps_once(
    tmp_path: Path, trees: list[PolicyTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "GAP_STEPS", 2)
    settings = GrpoTraining(batch_size=8, learning_rate=1e-5, kl=0.01, max_gap=100.0)
    made = _right_above_wrong(trees)
    _, same = finetune(TINY, TreesInMemory(made), settings, work=tmp_path / "a")
    assert same.reference_tokens == same.computed_tokens, "every pass once"
    other = tmp_path / "other"
    AutoModelForCausalLM.from_pretrained(TINY).save_pretrained(other)
    _, apart = finetune(TINY, TreesInMemory(made), settings, work=tmp_path / "b", base=str(other))
    assert apart.reference_tokens > apart.computed_tokens, "the gap's, and the reference's"
    assert apart.loss == pytest.approx(same.loss, abs=1e-5)


@pytest.mark.slow
def test_a_training_cut_short_goes_on_where_it_was(tmp_path: Path, trees: list[PolicyTree]) -> None:
    settings = SftTraining(epochs=2, batch_size=8, learning_rate=5e-4, shuffle_buffer=8)
    undisturbed = _Files(_right(trees))
    whole, figures = finetune(TINY, undisturbed, settings, work=tmp_path / "a")

    class Cut(Exception):
        pass

    def stop(share: float, _text: str) -> None:
        if share > 0.6:
            raise Cut

    with pytest.raises(Cut):
        finetune(TINY, _Files(_right(trees)), settings, work=tmp_path / "b", progress=stop)
    source = _Files(_right(trees))
    again, counted = finetune(TINY, source, settings, work=tmp_path / "b")
    assert len(source.reads) < len(undisturbed.reads), "not from the beginning"
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert (counted.steps, counted.trained_tokens) == (figures.steps, figures.trained_tokens)
