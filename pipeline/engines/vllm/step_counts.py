"""Counts what an engine's steps did, in place of vLLM's own statistics.

    outputs of a step ─► StepCounter.process ─► a request's keeper, else vLLM's OutputProcessor
    scheduler's report ─► StepCounter.record ─► EngineStep ─► listener

vLLM keeps the time between each two tokens of each request and puts it into Prometheus histograms, which nobody reads
here: a third of what a token costs its front end. Its stat loggers are documented as subject to change, so every field
is read with a default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from berry.pipeline.engines.vllm.quick_outputs import keeper, leave


@dataclass(frozen=True, slots=True)
class EngineStep:
    """What one engine step reports: `running`, `waiting` in sequences, `kv_usage` a share; the rest are increments, in
    tokens and, of `preemptions`, in sequences. `running` is None where the step carried no scheduler report;
    `late_tokens` are those of sequences that had ended, which vLLM leaves out of its own statistics."""

    running: int | None
    waiting: int
    kv_usage: float
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    preemptions: int = 0
    preempted_tokens: int = 0
    late_tokens: int = 0


@dataclass(slots=True)
class Counted:
    """What the outputs of a step hold, by the names of vLLM's IterationStats."""

    num_prompt_tokens: int = 0
    num_generation_tokens: int = 0
    num_preempted_reqs: int = 0
    late_tokens: int = 0


def read_step(scheduler: Any, iteration: Any) -> EngineStep:
    """Reads what a scheduler's report and the counts of one step say, whatever a release calls it."""
    cache = getattr(scheduler, "prefix_cache_stats", None)
    drafts = getattr(scheduler, "spec_decoding_stats", None)
    return EngineStep(
        running=None if scheduler is None else getattr(scheduler, "num_running_reqs", 0),
        waiting=getattr(scheduler, "num_waiting_reqs", 0) + getattr(scheduler, "num_skipped_waiting_reqs", 0),
        kv_usage=getattr(scheduler, "kv_cache_usage", 0.0),
        prompt_tokens=getattr(iteration, "num_prompt_tokens", 0),
        cached_tokens=getattr(cache, "hits", 0),
        generated_tokens=getattr(iteration, "num_generation_tokens", 0),
        drafted_tokens=getattr(drafts, "num_draft_tokens", 0),
        accepted_tokens=getattr(drafts, "num_accepted_tokens", 0),
        preemptions=getattr(iteration, "num_preempted_reqs", 0),
        preempted_tokens=getattr(cache, "preempted_queries", 0) - getattr(cache, "preempted_hits", 0),
        late_tokens=getattr(iteration, "late_tokens", 0),
    )


class StepCounter:
    """Stands between an AsyncLLM's processes and its OutputProcessor, and in the place of its loggers; `listener` is
    told of each step."""

    def __init__(self, processor: Any, listener: Callable[[EngineStep], None]) -> None:
        self._processor = processor
        self._process = processor.process_outputs
        self._listener = listener
        self._counted = Counted()

    def process(self, outputs: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        """Counts the outputs of a step, or a part of them, and hands on those that nobody keeps here."""
        open_ones, counted, lean = self._processor.request_states, self._counted, not self._processor.log_stats
        generated, others = 0, []
        for one in outputs:
            state = open_ones.get(one.request_id)
            if state is None:
                counted.late_tokens += len(one.new_token_ids)
                continue
            generated += len(one.new_token_ids)
            if one.events:
                counted.num_preempted_reqs += sum(event.type.name == "PREEMPTED" for event in one.events)
            if state.is_prefilling:
                if one.new_token_ids:
                    counted.num_prompt_tokens += state.prompt_len
                state.keeper = keeper(state, one) if lean else leave
            elif state.keeper(one):
                continue
            others.append(one)
        counted.num_generation_tokens += generated
        return self._process(others, *arguments, **named)

    def record(self, scheduler_stats: Any = None, *_arguments: Any, **_named: Any) -> None:
        """Tells of a step whose outputs were all processed. vLLM calls this, hence the name."""
        counted, self._counted = self._counted, Counted()
        self._listener(read_step(scheduler_stats, counted))

    def log(self, *_arguments: Any) -> None:
        """Does nothing: vLLM's own loggers write here. Likewise below."""

    record_sleep_state = record_admission_rejection = log


def reports_of_the_scheduler() -> Any:
    """A factory of stat loggers that do nothing: with one, an AsyncLLM asks its scheduler for reports."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class Silent(StatLoggerBase):
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            del vllm_config, engine_index

        def record(self, *_arguments: Any, **_named: Any) -> None:
            pass

        def log_engine_initialized(self) -> None:
            pass

    return Silent


def count_steps(engine: Any, listener: Callable[[EngineStep], None]) -> None:
    """Has `listener` told of each step of an AsyncLLM that was launched with `reports_of_the_scheduler` and has no
    request yet, and vLLM keep no statistics of its own."""
    processor = engine.output_processor
    counter = StepCounter(processor, listener)
    processor.process_outputs = counter.process
    engine.logger_manager = counter
    traced = getattr(processor, "tracing_enabled", False)  # traces are made of the statistics
    engine.log_stats = processor.log_stats = processor.lora_states.log_stats = traced
