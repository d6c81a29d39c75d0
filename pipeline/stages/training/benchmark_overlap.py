"""Tells how many problems of a benchmark the judged weights were trained on, as far as these say.

weights of each role ─► their training_problems.jsonl.gz ─► shared n-grams with each problem's text ─► a line each
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.config.sections.problems import EvaluationSets
from berry.pipeline.engines import models
from berry.pipeline.errors import BerryError
from berry.pipeline.rewards.model.card import read_card
from berry.pipeline.rewards.model.resolve import resolve
from berry.pipeline.stages.problems.decontamination import Decontamination
from berry.pipeline.stages.training.training_problems import stored_training_problems
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import address, weights_of_round

GENERATOR = "generator"


def judged_models(config: RunConfig, run: RunDir | None = None, round_index: int = 0) -> dict[str, str]:
    """Names or folders of the generator and the reward models, by role (prm, orm, or the name of one of several): those
    of the configuration, or those that a round of the run was made with. Engines that are no weights here have none."""
    named = {} if config.rewards is None else {role: model.model for role, model in config.rewards.each.items()}
    if isinstance(config.engine, VllmEngine):
        named[GENERATOR] = config.engine.model
    if run is not None and (after := weights_of_round(run, round_index)) is not None:
        named |= {role: address(run.location, trained) for role, trained in after.rewards.items()}
        if after.engine is not None:
            named[GENERATOR] = address(run.location, after.engine)
    return named


def folders_of(named: Mapping[str, str]) -> dict[str, str]:
    """The folders of those models that are at hand: the weights of an old run may be gone."""
    found = {}
    for role, model in named.items():
        try:
            folder = models.resolve(model) if role == GENERATOR else resolve(model, key=f"rewards.{role}.model")
        except BerryError:
            continue
        if Path(folder).is_dir():
            found[role] = str(folder)
    return found


def overlap_lines(weights: Mapping[str, str], problems: Iterable[tuple[str, str]]) -> list[str]:
    """A warning for each benchmark that overlaps with what a role's weights were trained on, with the count, and one
    line about the roles of which that is not known. `weights`: folders by role; `problems`: (benchmark, text) each.
    Overlap is measured as by `screening`, with its default settings."""
    texts = list(problems)
    lines: list[str] = []
    unknown: list[str] = []
    for role, folder in weights.items():
        stored = stored_training_problems(folder)
        if stored is None:
            unknown.append(f"the {role} ({_why_not(folder)})")
            continue
        learned = Decontamination(EvaluationSets(files=(stored,)), key=role)
        for benchmark in sorted({name for name, _ in texts}):
            here = [text for name, text in texts if name == benchmark]
            found = sum(learned.near(text) is not None for text in here)
            if found:
                lines.append(
                    f"warning: {found:,} of {len(here):,} problems of {benchmark} overlap with the {len(learned):,} "
                    f"that the {role} was trained on: figures that it has a part in say little there"
                )
    if unknown:
        lines.append(f"whether the benchmarks were trained on is not known of {', '.join(unknown)}")
    return lines


def _why_not(folder: str) -> str:
    card = read_card(folder)
    if card is None:
        return "weights without a card"
    return f"{card.version}: its card is of before problems were kept, or they could not be read"
