"""Exports problems for reinforcement learning: prompts with their check, and how often the run's answers passed it.

What a trainer's own reward can't check it gets from the `reward.py` that the export ships, which asks Berry's verifiers
(`berry.reward`), so that its rewards are the run's verdicts:

    verl        custom_reward_function.path=DIR/reward.py custom_reward_function.name=compute_score
    TRL         from reward import trl_reward; GRPOTrainer(reward_funcs=trl_reward, …)
    OpenRLHF    --reward.remote_url DIR/reward.py    (defines reward_func)
    verifiers   from reward import verifiers_reward; Rubric(funcs=[verifiers_reward])    (prime-rl trains on these)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from berry.pipeline.core.labels import only
from berry.pipeline.core.values.estimate import UNKNOWN, Value
from berry.pipeline.records import Message
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import (
    IDS,
    MASK,
    MESSAGES,
    VALUES,
    ColumnTypes,
    ExportContext,
    ExportFormat,
    Origin,
    layout,
    origin_of,
)

VERL_MATH = "lighteval/MATH"
"""The data source under which verl's default reward compares the last boxed expression with the ground truth."""

REWARD = '''"""Rewards as Berry's verifiers give them: 1 for a response that passes, 0 for one that fails.

Written by `berry export --format rl`; needs the package `berry` where the trainer computes rewards.
"""

from __future__ import annotations

import json

from berry import reward


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """verl: custom_reward_function.path=reward.py custom_reward_function.name=compute_score"""
    value = reward(solution_str, json.loads(extra_info["verifier"]))
    return {"score": value or 0.0, "unverifiable": float(value is None)}


def trl_reward(completions, verifier, **_):
    """TRL: GRPOTrainer(reward_funcs=trl_reward, ...); None where a check could not be made"""
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [reward(text, json.loads(spec)) for text, spec in zip(texts, verifier)]


def reward_func(queries, prompts, labels, **_):
    """OpenRLHF: a label is the verifier as JSON"""
    import torch

    responses = [query[len(prompt):] for query, prompt in zip(queries, prompts)]
    values = [reward(text, json.loads(spec)) for text, spec in zip(responses, labels)]
    unverifiable = torch.tensor([float(value is None) for value in values])
    scores = torch.tensor([value or 0.0 for value in values])
    return {"rewards": scores, "scores": scores, "extra_logs": {"unverifiable": unverifiable}}


def verifiers_reward(completion, info, **_):
    """The library `verifiers`, and prime-rl with it"""
    text = completion if isinstance(completion, str) else completion[-1]["content"]
    spec = info if isinstance(info, dict) else json.loads(info)
    return reward(text, json.loads(spec["verifier"])) or 0.0
'''


@dataclass(frozen=True, slots=True)
class RlRecord:
    """A problem with its check. `rate`: the value of the prompt (core/values), with its interval."""

    origin: Origin
    messages: list[Message]
    prompt_ids: Sequence[int]
    verifier: Mapping[str, Any]
    source: str
    rate: Value
    split: str

    @property
    def rates(self) -> Row:
        """The pass rate, null where none is known or sure enough, its 95% interval and the independent continuations
        behind it."""
        known = self.rate.value is not None
        return {
            "pass_rate": self.rate.value,
            "pass_rate_low": self.rate.low if known else None,
            "pass_rate_high": self.rate.high if known else None,
            "pass_rate_n": self.rate.n,
        }

    @property
    def spec(self) -> str:
        """The verifier's specification as JSON text."""
        return json.dumps(dict(self.verifier))

    @property
    def gold(self) -> str:
        """The expected answer where the verifier has one, else the whole verifier as JSON."""
        answer = self.verifier.get("answer", self.verifier.get("target"))
        return self.spec if answer is None else str(answer)

    @property
    def data_source(self) -> str:
        """Under this verl's default reward finds how to check a response; a name of Berry's needs the shipped one."""
        kind = self.verifier.get("type")
        return VERL_MATH if kind == "math" else f"berry/{kind}"


def records(stored: StoredTree, context: ExportContext) -> Iterator[RlRecord]:
    """One for each problem; nothing where the run's problem files can't be read any more."""
    if stored.problem is None:
        return
    filters = context.filters
    rate = only(stored.values[stored.tree.root.node_id], filters.kinds)
    yield RlRecord(
        origin=origin_of(stored, stored.problem_id),
        messages=stored.messages,
        prompt_ids=stored.tree.prompt_ids,
        verifier=stored.problem.verifier.model_dump(mode="json"),
        source=stored.problem.source,
        rate=rate if filters.lets_through(rate) else UNKNOWN,
        split=context.split,
    )


_RATES: ColumnTypes = (
    ("pass_rate", pa.float64()),
    ("pass_rate_low", pa.float64()),
    ("pass_rate_high", pa.float64()),
    ("pass_rate_n", pa.int32()),
)

RL = ExportFormat(
    records,
    {
        "trl": layout(
            [("prompt", MESSAGES), ("answer", pa.string()), ("verifier", pa.string()), *_RATES],
            lambda r: {"prompt": r.messages, "answer": r.gold, "verifier": r.spec, **r.rates},
        ),
        "openrlhf": layout(
            [("input", MESSAGES), ("label", pa.string()), ("answer", pa.string()), *_RATES],
            lambda r: {"input": r.messages, "label": r.spec, "answer": r.gold, **r.rates},
        ),
        "verl": layout(
            [
                ("data_source", pa.string()),
                ("prompt", MESSAGES),
                ("ability", pa.string()),
                ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
                (
                    "extra_info",
                    pa.struct(
                        [
                            ("index", pa.string()),
                            ("split", pa.string()),
                            ("source", pa.string()),
                            ("verifier", pa.string()),
                        ]
                    ),
                ),
                *_RATES,
            ],
            lambda r: {
                "data_source": r.data_source,
                "prompt": r.messages,
                "ability": str(r.verifier.get("type", "")),
                "reward_model": {"style": "rule", "ground_truth": r.gold},
                "extra_info": {
                    "index": r.origin.problem_id,
                    "split": r.split,
                    "source": r.source,
                    "verifier": r.spec,
                },
                **r.rates,
            },
        ),
        "verifiers": layout(
            [
                ("prompt", MESSAGES),
                ("answer", pa.string()),
                ("info", pa.string()),
                ("task", pa.string()),
                *_RATES,
            ],
            lambda r: {
                "prompt": r.messages,
                "answer": r.gold,
                "info": json.dumps({"verifier": r.spec, "source": r.source}),
                "task": str(r.verifier.get("type", "")),
                **r.rates,
            },
        ),
    },
    nothing="no problem was searched; `berry run CONFIG` goes on with a run that was stopped",
    tokens=layout(
        [
            ("input_ids", IDS),
            ("loss_mask", MASK),
            ("answer", pa.string()),
            ("verifier", pa.string()),
            *_RATES,
        ],
        lambda r: {
            "input_ids": r.prompt_ids,
            "loss_mask": [0] * len(r.prompt_ids),
            "answer": r.gold,
            "verifier": r.spec,
            **r.rates,
        },
    ),
    files={"reward.py": REWARD},
    labels="`pass_rate` is the value of the prompt, null where none is known; `pass_rate_low` and `pass_rate_high` are "
    "the ends of its 95% interval, `pass_rate_n` the independent continuations behind it. Where branches were cut one "
    f"rate may exceed 1, or be 0 with nothing behind it: the mean over problems is right. {VALUES}",
)
