"""Holds what every kind of variant works with: engine, checker, evaluation sets, and an original with its answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.problems import ProblemSource
from berry.pipeline.config.sections.variants import Variants
from berry.pipeline.core.events import Completion, Sampling
from berry.pipeline.core.seeds import digest, generate_seed
from berry.pipeline.engines.chat import Asker
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Finish, Message, Problem
from berry.pipeline.stages.problems.decontamination import Decontamination
from berry.pipeline.stages.variants.attempts import Attempt, question, with_question
from berry.pipeline.stages.variants.dedup import normalised
from berry.verifiers.checker import Checker
from berry.verifiers.specs.union import VerifierSpec


@dataclass(slots=True)
class Original:
    """A problem to make variants of, and where it came from: the source, and its place there from 0."""

    problem: Problem
    source: ProblemSource
    index: int
    seen: set[str] = field(default_factory=set)
    sampled: asyncio.Task[list[str | None]] | None = None

    @property
    def question(self) -> str:
        """What the problem asks, in words."""
        return question(self.problem)

    @property
    def family(self) -> str:
        """The id that splits go by: variants of a variant belong to the first original."""
        return self.problem.variant_of or self.problem.id

    def first_seen(self, text: str) -> bool:
        """Whether `text` differs from the original and all earlier drafts; takes note of it."""
        self.seen.add(normalised(self.question))
        key = normalised(text)
        if key in self.seen:
            return False
        self.seen.add(key)
        return True


@dataclass(slots=True)
class VariantContext:
    """`asker` is None where no kind needs an engine."""

    config: RunConfig
    variants: Variants
    checker: Checker
    decontamination: Decontamination
    asker: Asker | None = None

    @property
    def engine(self) -> Asker:
        """What drafts are asked of. Raises EngineError where no engine was started."""
        if self.asker is None:
            raise EngineError("no engine was started for this kind of variant")
        return self.asker

    def seed(self, problem_id: str, purpose: str, number: int = 0) -> int:
        """The seed for one draft of a problem; it follows from the run's seed, the variants' seed and the purpose."""
        return generate_seed(self.config.seed, 0, problem_id, f"variants/{self.variants.seed}/{purpose}", number)

    async def write(self, messages: list[Message], *, n: int, seed: int) -> list[Completion]:
        """Drafts and programs. Raises PromptTooLong, EngineError."""
        writing = self.variants.writing
        sampling = Sampling(temperature=writing.temperature, top_p=writing.top_p)
        return await self.engine.ask(messages, n=n, seed=seed, sampling=sampling, max_tokens=writing.max_tokens)

    async def answers(self, problem: Problem, *, purpose: str) -> list[str | None]:
        """`samples` replies to a problem as a run would ask it; None for one that was cut off."""
        config = self.config.rollout
        messages = problem.messages_under(config.system_prompt)
        s = config.sampling
        sampling = Sampling(temperature=s.temperature, top_p=s.top_p, top_k=s.top_k, min_p=s.min_p)
        replies = await self.engine.ask(
            messages,
            n=self.variants.samples,
            seed=self.seed(problem.id, purpose),
            sampling=sampling,
            max_tokens=s.max_tokens,
        )
        whole = (Finish.STOP, Finish.STEP, *((Finish.LENGTH,) if config.verify_truncated else ()))
        return [reply.text if reply.finish in whole else None for reply in replies]

    async def original_answers(self, original: Original) -> list[str | None]:
        """The replies to the original, drawn once for all kinds."""
        if original.sampled is None:
            original.sampled = asyncio.create_task(self.answers(original.problem, purpose="original"))
        return await asyncio.shield(original.sampled)

    def provenance(self, seed: int, by: Completion | None = None) -> dict[str, Any]:
        """Who made it: the seed, and the engine with its weights where one wrote or measured."""
        if self.asker is None:
            return {"seed": seed, "engine": None}
        info = self.asker.info
        return {
            "seed": seed,
            "engine": info.engine_id,
            "model": info.model,
            "synthetic": info.synthetic,
            "weights_version": (by.weights_version if by is not None else "") or info.weights_version,
        }


def candidate(
    original: Original,
    kind: str,
    number: str,
    text: str,
    verifier: VerifierSpec,
    *,
    difficulty: float | None = None,
    meta: dict[str, Any] | None = None,
) -> Problem:
    """The variant as a problem, with the original's meta unless `meta` is given; what was measured joins it once it has
    passed (`finished`)."""
    parent = original.problem
    name = f"{parent.id}-{kind}-{number}"
    if len(name) > 256:
        name = f"{digest('variant', parent.id).hex()}-{kind}-{number}"
    return Problem(
        id=name,
        prompt=with_question(parent, text),
        verifier=verifier,
        source=f"{parent.source or 'problems'}/{kind}",
        variant_of=original.family,
        difficulty=difficulty,
        meta=dict(parent.meta) if meta is None else meta,
    )


def finished(attempt: Attempt) -> Attempt:
    """A variant that passed its check, with its provenance in its meta."""
    assert attempt.variant is not None
    story = {"kind": attempt.kind, "parent": attempt.original, **attempt.provenance, "check": dict(attempt.check)}
    problem = attempt.variant.model_copy(update={"meta": {**attempt.variant.meta, "variant": story}})
    return replace(attempt, variant=problem)
