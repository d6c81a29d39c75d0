"""How trainers want their rows: one function a format and trainer, each with the Arrow schema of what it gives.

    Sft, Dpo, Pair, Orm, Prm, Rl (what a run knows) ─► LAYOUTS[format, trainer] ─► row

TRL: conversational columns as its trainers read them (SFT and DPO; unpaired preference for `orm`, stepwise supervision
for `prm`). OpenRLHF: `input`/`output`/`label` and `prompt`/`chosen`/`rejected`, message lists for its chat template.
verl: its multi-turn SFT and RL Parquet. Columns beyond those that a trainer needs say where a row comes from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from berry.pipeline.records import Message
from berry.pipeline.schema import MESSAGE

Row = dict[str, Any]
MESSAGES = pa.list_(MESSAGE)
STEP_TAG = "ки"  # OpenRLHF's customary placeholder behind each step


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row comes from; the columns every layout has."""

    problem_id: str
    source_id: str  # of the trajectory, or of the pair
    round_index: int

    @property
    def columns(self) -> Row:
        return {"problem_id": self.problem_id, "source_id": self.source_id, "round": self.round_index}


@dataclass(frozen=True, slots=True)
class Sft:
    origin: Source
    messages: list[Message]
    response: str
    orm: float | None


@dataclass(frozen=True, slots=True)
class Dpo:
    origin: Source
    messages: list[Message]
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two continuations of one prefix of the answer. Values are labels with the continuations behind them; `certain`:
    the 95% intervals do not overlap."""

    origin: Source
    messages: list[Message]
    prefix: str
    chosen: str
    rejected: str
    values: tuple[float, float]
    visits: tuple[int, int]
    certain: bool


@dataclass(frozen=True, slots=True)
class Orm:
    origin: Source
    messages: list[Message]
    response: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Prm:
    """Labels of steps: `soft` the estimated chance that a continuation passes, `hard` whether any did, `visits` the
    independent continuations behind it, `weights` what the label weighs (1 unless branches were cut: labels of trees
    with cuts are unbiased only so weighted). `first_error`: index of the first step from which nothing passes, None if
    there is none."""

    origin: Source
    prompt: str
    steps: list[str]
    soft: list[float]
    hard: list[bool]
    visits: list[int]
    weights: list[float]
    confidence: list[float]
    first_error: int | None


@dataclass(frozen=True, slots=True)
class Rl:
    origin: Source
    messages: list[Message]
    verifier: Mapping[str, Any]
    source: str
    pass_rate: float | None
    split: str

    @property
    def gold(self) -> str:
        """The expected answer where the verifier has one, else the whole verifier as JSON."""
        answer = self.verifier.get("answer", self.verifier.get("target"))
        return json.dumps(dict(self.verifier)) if answer is None else str(answer)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    schema: pa.Schema
    row: Callable[[Any], Row]


_ORIGIN = [("problem_id", pa.string()), ("source_id", pa.string()), ("round", pa.int32())]


def _layout(columns: list[tuple[str, pa.DataType]], row: Callable[[Any], Row]) -> ExportFormat:
    return ExportFormat(pa.schema([*columns, *_ORIGIN]), lambda record: row(record) | record.origin.columns)


def _said(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def _prm_columns(r: Prm) -> Row:
    return {
        "soft": r.soft,
        "visits": r.visits,
        "weights": r.weights,
        "confidence": r.confidence,
        "first_error": r.first_error,
    }


_PRM_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("soft", pa.list_(pa.float64())),
    ("visits", pa.list_(pa.int32())),
    ("weights", pa.list_(pa.float64())),
    ("confidence", pa.list_(pa.float64())),
    ("first_error", pa.int32()),
]
_PAIR_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("score_chosen", pa.float64()),
    ("score_rejected", pa.float64()),
    ("visits_chosen", pa.int32()),
    ("visits_rejected", pa.int32()),
    ("certain", pa.bool_()),
]


def _pair_columns(r: Pair) -> Row:
    return {
        "score_chosen": r.values[0],
        "score_rejected": r.values[1],
        "visits_chosen": r.visits[0],
        "visits_rejected": r.visits[1],
        "certain": r.certain,
    }


_THREE: list[tuple[str, pa.DataType]] = [("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES)]
_VERL_RL = _layout(
    [
        ("data_source", pa.string()),
        ("prompt", MESSAGES),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", pa.struct([("index", pa.string()), ("split", pa.string()), ("verifier", pa.string())])),
        ("pass_rate", pa.float64()),
    ],
    lambda r: {
        "data_source": r.source or "berry",
        "prompt": r.messages,
        "ability": str(r.verifier.get("type", "")),
        "reward_model": {"style": "rule", "ground_truth": r.gold},
        "extra_info": {"index": r.origin.problem_id, "split": r.split, "verifier": json.dumps(dict(r.verifier))},
        "pass_rate": r.pass_rate,
    },
)

LAYOUTS: dict[tuple[str, str], ExportFormat] = {
    ("sft", "trl"): _layout(
        [("prompt", MESSAGES), ("completion", MESSAGES), ("orm", pa.float64())],
        lambda r: {"prompt": r.messages, "completion": _said(r.response), "orm": r.orm},
    ),
    ("sft", "verl"): _layout(
        [("messages", MESSAGES), ("orm", pa.float64())],
        lambda r: {"messages": [*r.messages, *_said(r.response)], "orm": r.orm},
    ),
    ("sft", "openrlhf"): _layout(
        [("input", MESSAGES), ("output", pa.string()), ("orm", pa.float64())],
        lambda r: {"input": r.messages, "output": r.response, "orm": r.orm},
    ),
    ("dpo", "trl"): _layout(
        _THREE, lambda r: {"prompt": r.messages, "chosen": _said(r.chosen), "rejected": _said(r.rejected)}
    ),
    ("dpo", "openrlhf"): _layout(
        _THREE, lambda r: {"prompt": r.messages, "chosen": _said(r.chosen), "rejected": _said(r.rejected)}
    ),
    ("pairs", "trl"): _layout(
        [*_THREE, *_PAIR_COLUMNS],
        lambda r: {
            "prompt": [*r.messages, *(_said(r.prefix) if r.prefix else [])],
            "chosen": _said(r.chosen),
            "rejected": _said(r.rejected),
            **_pair_columns(r),
        },
    ),
    ("pairs", "openrlhf"): _layout(
        [*_THREE, *_PAIR_COLUMNS],
        lambda r: {
            "prompt": r.messages,
            "chosen": _said(r.prefix + r.chosen),
            "rejected": _said(r.prefix + r.rejected),
            **_pair_columns(r),
        },
    ),
    ("orm", "trl"): _layout(
        [("prompt", MESSAGES), ("completion", MESSAGES), ("label", pa.bool_())],
        lambda r: {"prompt": r.messages, "completion": _said(r.response), "label": r.passed},
    ),
    ("orm", "openrlhf"): _layout(
        [("input", MESSAGES), ("output", pa.string()), ("label", pa.int32())],
        lambda r: {"input": r.messages, "output": r.response, "label": int(r.passed)},
    ),
    ("prm", "trl"): _layout(
        [
            ("prompt", pa.string()),
            ("completions", pa.list_(pa.string())),
            ("labels", pa.list_(pa.bool_())),
            *_PRM_COLUMNS,
        ],
        lambda r: {"prompt": r.prompt, "completions": r.steps, "labels": r.hard, **_prm_columns(r)},
    ),
    ("prm", "openrlhf"): _layout(
        [("input", pa.string()), ("label", pa.list_(pa.string())), *_PRM_COLUMNS],
        lambda r: {
            "input": r.prompt + "\n" + "".join(f"{s.rstrip()} {STEP_TAG}\n" for s in r.steps),
            "label": ["+" if h else "-" for h in r.hard],
            **_prm_columns(r),
        },
    ),
    ("rl", "trl"): _layout(
        [("prompt", MESSAGES), ("answer", pa.string()), ("verifier", pa.string()), ("pass_rate", pa.float64())],
        lambda r: {
            "prompt": r.messages,
            "answer": r.gold,
            "verifier": json.dumps(dict(r.verifier)),
            "pass_rate": r.pass_rate,
        },
    ),
    ("rl", "openrlhf"): _layout(
        [("input", MESSAGES), ("label", pa.string()), ("pass_rate", pa.float64())],
        lambda r: {"input": r.messages, "label": r.gold, "pass_rate": r.pass_rate},
    ),
    ("rl", "verl"): _VERL_RL,
}
FORMATS = tuple(dict.fromkeys(name for name, _ in LAYOUTS))
TRAINERS = tuple(dict.fromkeys(trainer for _, trainer in LAYOUTS))
