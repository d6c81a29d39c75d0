"""Trains the generator on trees: chooses how the model reads them, checks what it starts from, and has it trained.

    TreeSource ─► StepOrder ─► StepReader ─► PolicyTrainer (step_trainer.py) ─► weights, Figures

Trees are read as their step is due, so that what is in memory does not grow with what is learned from. Resumes from the
last whole checkpoint of the same files and settings. Where several processes train (training/processes.py) each calls
this with the same arguments and reads its share of every step.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PrinterCallback

from berry.pipeline.config.sections.rounds import (
    DpoTraining,
    PolicyGradientTraining,
    PolicyTraining,
    SftTraining,
)
from berry.pipeline.errors import EngineError, InputError, ResourceError
from berry.pipeline.rewards.model.quiet import quiet_transformers
from berry.pipeline.rewards.packing.layout import Pack
from berry.pipeline.rewards.packing.model_check import choose_packing, why_not_packed
from berry.pipeline.rewards.policy.batches import Passes, batches
from berry.pipeline.rewards.policy.examples import TreeSource, sequence
from berry.pipeline.rewards.policy.objectives.base import Batch, Objective
from berry.pipeline.rewards.policy.objectives.clipped_ratio import ClippedRatio
from berry.pipeline.rewards.policy.objectives.dpo import Dpo
from berry.pipeline.rewards.policy.objectives.sft import Sft
from berry.pipeline.rewards.policy.reference import KnownLogprobs, ReferenceModel, gap, reference_logprobs
from berry.pipeline.rewards.policy.step_reader import StepReader
from berry.pipeline.rewards.policy.step_trainer import Figures, PolicyTrainer, StepPlan, StepReporter, arguments
from berry.pipeline.rewards.training import checkpoints, processes, sharding
from berry.pipeline.rewards.training.step_order import StepOrder
from berry.pipeline.rewards.training.trainer_parts import CheckpointMarker, RowDataset, with_adapters

EXPLODED_NATS = 5.0  # a ratio of 150 in the mean: what was sampled tells nothing of such weights any more
GAP_STEPS = 4  # whose stored log-probabilities are compared with those of the first weights


def objective_of(settings: PolicyTraining) -> Objective:
    """What a policy step is trained for."""
    if isinstance(settings, SftTraining):
        return Sft()
    if isinstance(settings, PolicyGradientTraining):
        return ClippedRatio(settings, most_drift=max(EXPLODED_NATS, 2 * settings.max_gap))
    assert isinstance(settings, DpoTraining), f"no objective for {type(settings).__name__}"
    return Dpo(settings.beta)


def finetune(
    folder: str,
    source: TreeSource,
    settings: PolicyTraining,
    *,
    work: Path,
    base: str | None = None,
    temperature: float = 1.0,
    progress: Callable[[float, str], None] = lambda _share, _text: None,
) -> tuple[Any, Figures]:
    """The model in `folder` after training on the trees of `source`, and how it went. `base`: the model that `kl` is
    measured from, by default the same. `temperature`: that the trajectories were sampled with. Resumes from the last
    whole checkpoint in `work`, which processes that train together share. Raises ConfigError, EngineError,
    ResourceError, and InputError where a step went astray: then the weights are left as they were."""
    torch.manual_seed(settings.seed)
    model = _load(folder, settings)
    objective = objective_of(settings)
    passes = Passes(settings.pack_tokens if _reads_packs(model, settings) else None, settings.batch_size)
    if isinstance(settings, PolicyGradientTraining):
        passes = replace(passes, temperature=temperature)
    order = StepOrder(
        source.sizes,
        step_size=settings.batch_size * settings.accumulate,
        buffer=settings.shuffle_buffer,
        seed=settings.seed,
        epochs=settings.epochs,
    )
    if not order.total:
        raise InputError("no trajectory teaches anything: all of a problem came out alike, or no step has a value")
    figures = Figures(packed=passes.tokens is not None)
    reader = StepReader(source, order, (processes.rank(), processes.count()))
    known: KnownLogprobs = {}
    if isinstance(settings, PolicyGradientTraining):
        known = _check_gap(model, reader, min(GAP_STEPS, order.steps_an_epoch), passes, settings, figures)
    reference = None
    if objective.needs_reference:
        other = base if isinstance(settings, PolicyGradientTraining) and base not in (None, folder) else None
        if other is None:  # what the gap was found with are the reference's own log-probabilities
            reference = ReferenceModel(copy.deepcopy(model), known, figures)
        else:
            reference = ReferenceModel(_load(other, settings), {}, figures)
    work_plan = blake2b(f"{folder}/{source.digest}/{settings.model_dump_json()}/{base}".encode(), digest_size=16)
    if processes.rank() == 0:
        checkpoints.prepare(work, work_plan.hexdigest())
    processes.wait_for_all()
    checkpoint = checkpoints.last_whole(work)
    if checkpoint is not None:
        figures.go_on_from(checkpoint)
    adapters = None if settings.lora is None else with_adapters(model, settings.lora, "CAUSAL_LM")
    is_sharded = settings.sharding == "full" and processes.is_shared()
    if is_sharded:
        sharding.shard(model)
    trainer = PolicyTrainer(
        model=model if adapters is None else adapters,
        args=arguments(model, order, settings, work),
        train_dataset=RowDataset(range(order.total)),
        callbacks=[StepReporter(progress, figures), CheckpointMarker()],
    )
    trainer.plan = StepPlan(reader, objective, passes, reference, figures)
    trainer.remove_callback(PrinterCallback)
    try:
        with warnings.catch_warnings(), quiet_transformers():
            warnings.simplefilter("ignore")  # the library's, on pinned memory and schedulers
            done = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except RuntimeError as error:
        if "memory" not in str(error).lower():
            raise
        raise ResourceError(
            f"not enough memory to train {folder} with rounds.policy.pack_tokens {settings.pack_tokens}: lower it, set "
            f"lora or dtype: bfloat16 ({str(error).splitlines()[0]})"
        ) from error
    figures.steps, figures.loss = done.global_step, done.training_loss
    figures.add_up()
    if adapters is not None:
        model = adapters.merge_and_unload()
    if is_sharded:
        model = _put_together(model, folder, settings)
    return model.eval(), figures


def _put_together(sharded: Any, folder: str, settings: PolicyTraining) -> Any:
    """The whole model, on the first process's cores; the others keep their part."""
    weights = sharding.whole_weights(sharded)
    if processes.rank():
        return sharded
    del sharded
    model = _read(folder, settings)
    model.load_state_dict(weights)
    return model


def _check_gap(
    model: Any, reader: StepReader, steps: int, passes: Passes, settings: PolicyGradientTraining, figures: Figures
) -> KnownLogprobs:
    """Refuses trajectories that weights other than these have sampled. Returns what it has read, by step and pass."""
    model.eval()
    apart, tokens = 0.0, 0
    known: KnownLogprobs = {}
    for number in range(steps):
        for at, batch in enumerate(batches(reader.read(number), passes)):
            found = reference_logprobs(model, batch)
            more, counted = gap(batch, found)
            apart, tokens = apart + more, tokens + counted
            figures.reference_tokens += batch.pack.computed
            known[number, at] = found
    apart, counted = processes.summed(apart, tokens)
    mean = apart / max(counted, 1)
    if not mean <= settings.max_gap:
        raise InputError(
            f"the stored log-probabilities are {mean:.2f} nats a token away from those of the weights that training "
            f"starts from, rounds.policy.max_gap is {settings.max_gap:g}: other weights, another chat template or "
            "another temperature made these trajectories; set rounds.policy.start: latest, or use type: sft"
        )
    return known


def check_reads_packs(folder: str, settings: PolicyTraining) -> None:
    """Loads the model and tries it. Raises ConfigError where packs are demanded and it can't read them, EngineError
    where it can't be loaded."""
    _reads_packs(_load(folder, settings), settings)


def _reads_packs(model: Any, settings: PolicyTraining) -> bool:
    vocabulary = model.get_input_embeddings().num_embeddings
    found = choose_packing(
        model, settings.packing, lambda: why_not_packed(model, _plain_loss, vocabulary=vocabulary), key="rounds.policy"
    )
    return found is None


def _plain_loss(model: Any, pack: Pack) -> torch.Tensor:
    rows = [sequence(ids[:1].tolist(), ids[1:].tolist()) for ids in (pack.ids.reshape(-1)[p] for p in pack.places)]
    return Sft().loss(model, Batch(pack, rows))


def load_trained(folder: Path) -> Any:
    """The model that a training has written, with its numbers as they are."""
    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


def _load(folder: str, settings: PolicyTraining) -> Any:
    return _read(folder, settings).to("cuda" if torch.cuda.is_available() else "cpu")


def _read(folder: str, settings: PolicyTraining) -> Any:
    dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
    try:
        with quiet_transformers():
            return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(
            f"the generator in {folder} can't be loaded to train it: {str(error).splitlines()[0]}"
        ) from error
