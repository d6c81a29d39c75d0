"""Defines what an export format is: the records that one stored tree gives, and the rows that trainers read of them.

    StoredTree ─► ExportFormat.records ─► record ─► ExportFormat.layouts[trainer].row ─► row
                                                └─► ExportFormat.tokens.row           ─► row of the sampled token ids

A format stands in one file of this folder. Columns beyond those that a trainer needs say where a row comes from.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

import pyarrow as pa

from berry.pipeline.config.sections.rollout.rollout import StepConfig, Thinking
from berry.pipeline.core.labels import is_of_cuts, is_sure
from berry.pipeline.core.tree_view import NodeView
from berry.pipeline.core.values.estimate import Value
from berry.pipeline.errors import InputError
from berry.pipeline.records import Finish, Message
from berry.pipeline.schema import MESSAGE
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.turns import Conversations, Turn
from berry.pipeline.stages.training.sibling_pairs import PairFilters

MESSAGES = pa.list_(MESSAGE)
IDS = pa.list_(pa.int32())
MASK = pa.list_(pa.int8())
LOGPROBS = pa.list_(pa.float32())
ColumnTypes = Sequence[tuple[str, pa.DataType]]
SourceOf = Literal["kept", "trajectories"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row comes from; the columns that every layout has. `source_id`: of the trajectory, or of the pair."""

    problem_id: str
    source_id: str
    round_index: int

    @property
    def columns(self) -> Row:
        """Where a record comes from, as the columns that every format has."""
        return {"problem_id": self.problem_id, "source_id": self.source_id, "round": self.round_index}


VALUES = (
    "A value is the chance that a continuation of a prefix, sampled as this run samples, passes its verifier. It is "
    "estimated by the mean over the prefix's sampled children, each weighted by one over the chance with which the "
    "search kept it, recursively down to the verdicts of the leaves (Horvitz and Thompson 1952; with equal weights the "
    "soft estimate of Math-Shepherd, Wang et al. 2024). Its interval is Wilson's 95% over the independent "
    "continuations. Leaves that could not be checked are left out, not counted as wrong."
)
"""How values are estimated, for the cards of the formats that hold some."""

ORIGIN: ColumnTypes = (("problem_id", pa.string()), ("source_id", pa.string()), ("round", pa.int32()))


@dataclass(frozen=True, slots=True)
class Sampled:
    """A whole response as it was sampled. `logprobs`: nats, one a token of `token_ids`; None where they were not
    stored. `trainable`: one a token, whether the model sampled it. `ended`: the model ended its turn. `turns`: the
    response as messages where it is a conversation of several, with the columns that a file of those has."""

    messages: list[Message]
    text: str
    prompt_ids: Sequence[int]
    token_ids: Sequence[int]
    logprobs: Sequence[float] | None = None
    trainable: Sequence[bool] | None = None
    ended: bool = True
    turns: Sequence[Turn] | None = None

    @property
    def holds_results(self) -> bool:
        """Whether a tool's results are part of it."""
        return self.trainable is not None and not all(self.trainable)

    @property
    def loss_mask(self) -> array[int]:
        """One a token of prompt and response: 1 where a trainer may learn it."""
        mask = array("b", bytes(len(self.prompt_ids)))
        mask.extend(b"\1" * len(self.token_ids) if self.trainable is None else map(int, self.trainable))
        return mask

    @property
    def input_ids(self) -> array[int]:
        """The prompt's token ids and the response's, in one."""
        ids = array("i", self.prompt_ids)
        ids.extend(self.token_ids)
        return ids

    @property
    def labels(self) -> array[int]:
        """One a token: its id where a trainer may learn it, else -100, which losses leave out."""
        return array("i", (i if m else -100 for i, m in zip(self.input_ids, self.loss_mask, strict=True)))

    @property
    def whole_logprobs(self) -> array[float] | None:
        """Nats, one a token of prompt and response, 0 for the prompt's; None where they were not stored."""
        if self.logprobs is None:
            return None
        whole = array("f", bytes(4 * len(self.prompt_ids)))
        whole.extend(self.logprobs)
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters(PairFilters):
    """`min_visits` and `min_confidence` hold for a step's label and a pass rate as for a sibling's; `per_problem`: most
    rows of one problem, drawn at random."""

    per_problem: int | None = None

    def lets_through(self, value: Value) -> bool:
        """Whether enough stands behind a label or pass rate. Raises InputError where a threshold is asked for although
        branches were cut: it would choose those that a scorer liked."""
        if self.min_visits <= 1 and self.min_confidence <= 0:
            return True
        if is_of_cuts(value):
            raise InputError(
                "--min-visits and --min-confidence: branches of this run were cut, so that how much stands behind a "
                "label says how good it looked, and those that are left would be too high; leave both out (all labels "
                "are right together, by their weights), or make labels without cuts (`berry annotate`)"
            )
        return is_sure(value, self.min_visits, self.min_confidence)


@dataclass(frozen=True, slots=True)
class ExportContext:
    """What records are made under. `decode`: the run's tokenizer; `rendered`: a prompt's text with its special tokens,
    None where the run's engine has no chat template; `source`: whether rows are of kept trajectories alone;
    `conversations`: how responses become conversations, None where they are written otherwise."""

    step: StepConfig
    thinking: Thinking | None
    filters: Filters = field(default_factory=Filters)
    split: str = "train"
    source: SourceOf = "kept"
    decode: Callable[[Sequence[int]], str] | None = None
    rendered: Callable[[Sequence[int]], str] | None = None
    conversations: Conversations | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a trainer wants its rows: their Arrow schema, and the row that a record becomes."""

    schema: pa.Schema
    row: Callable[[Any], Row]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One way to make training data of trees.

    `records`: what one tree gives; each record has an `origin`. `layouts`: by trainer. `nothing`: why a run may give no
    row, and what to do. `tokens`: the layout of `--tokens`, None where there is none. `sampled`: the responses that a
    record holds, for comparing them with what a chat template makes of their text. `files`: text files that the export
    ships beside its rows, by name. `conversations`: by trainer, the layout of responses that are conversations of
    several turns; without it they are refused as text. `labels`: how its labels come about, in words for the data card.
    `needs_labels`: there is nothing to write where a run has no labels of steps.
    """

    records: Callable[[StoredTree, ExportContext], Iterator[Any]]
    layouts: Mapping[str, Layout]
    nothing: str
    tokens: Layout | None = None
    conversations: Mapping[str, Callable[[Conversations], Layout]] = field(default_factory=dict)
    sampled: Callable[[Any], Sequence[Sampled]] = lambda _: ()
    files: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""
    needs_labels: bool = False


def layout(columns: ColumnTypes, row: Callable[[Any], Row]) -> Layout:
    """A layout whose rows say where they come from."""
    return Layout(pa.schema([*columns, *ORIGIN]), lambda record: row(record) | record.origin.columns)


def assistant(text: str) -> list[Message]:
    """A response as one turn of the model's."""
    return [{"role": "assistant", "content": text}]


def origin_of(stored: StoredTree, source_id: str) -> Origin:
    """Where records of a stored tree come from; `source_id`: the problem that its problem is a variant of."""
    return Origin(stored.problem_id, source_id, stored.round_index)


def sampled_of(stored: StoredTree, leaf: str, conversations: Conversations | None = None) -> Sampled:
    """The response of a trajectory (kept or not) as it was sampled."""
    path = stored.tree.path(stored.tree[leaf])
    given = any(node.given is not None for node in path)
    sampled = Sampled(
        stored.messages,
        stored.response(leaf),
        stored.tree.prompt_ids,
        stored.token_ids(leaf),
        stored.logprobs(leaf),
        [node.given is None for node in path for _ in node.tokens] if given else None,
        ended=stored.tree[leaf].finish is Finish.STOP,
    )
    return sampled if conversations is None else as_conversation(sampled, path, conversations)


def as_conversation(sampled: Sampled, path: Sequence[NodeView], conversations: Conversations) -> Sampled:
    """A response with its turns, `path` being its nodes."""
    messages = conversations.messages(sampled.messages)
    return replace(sampled, messages=messages, turns=conversations.turns(path))


def text_digest(*texts: str) -> bytes:
    """Tells texts apart in 16 bytes, however long they are."""
    found = blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.digest()


def sampled_of_kept(stored: StoredTree, row: Row, *, ended: bool = True) -> Sampled:
    """The sampled tokens of a kept row, which says itself which of them may be learned."""
    trainable = None
    if row["segments"] is not None:
        trainable = [segment["trainable"] for segment in row["segments"] for _ in range(segment["tokens"])]
    return Sampled(
        stored.messages, row["response"], row["prompt_token_ids"], row["token_ids"], row["logprobs"], trainable, ended
    )
