"""Counts where the tokens of a problem went; ledgers of problems, policies and runs are sums.

    search ─► Ledger ─► TokenLedger (+ settle: kept and pruned by rule, once the kept ones are known)

`prompt` counts the prefix once a request (the children of one request share its prefill), split into `cached`
and `recomputed`. `extra` counts `requests`, `segments`, `steps` (places where a step ended), `failed` (samples that
never came), `ignored` (answers nobody waited for), `spared` (tokens of branches that were to be cut and went on, so
that values stay unbiased), `planned_leaves`, `saved_leaves` (planned but not needed), `granted_leaves`, `calls` (of
tools, with a result), of them `calls_OUTCOME` that did not end well and `calls_nondeterministic`, `calls_failed`
(without a result), `given` (tokens of results, which were not generated), `recomputed_after_calls` (the part of
`recomputed` that was read again behind a result, whose own tokens are new and not counted: what the prefix lost of its
cache while its call was waited for, up to a block of it always), and after `settle` the tokens `pruned.REASON`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from berry.pipeline.core.events import Called
from berry.pipeline.core.tree import Tree
from berry.pipeline.records import TokenLedger, Trajectory


@dataclass(slots=True)
class Ledger:
    """A running count, in tokens unless the name says otherwise."""

    prompt: int = 0
    cached: int = 0
    generated: int = 0
    cancelled: int = 0
    segments: int = 0
    steps: int = 0
    extra: Counter[str] = field(default_factory=Counter)

    def count(self, name: str, by: int = 1) -> None:
        """Adds to one of the counters that are no tokens, such as requests."""
        if by:
            self.extra[name] += by

    def read(self, prompt: int, cached: int) -> None:
        """One request's prefix, of which so much came from the cache."""
        self.prompt += prompt
        self.cached += cached

    def called(self, event: Called) -> None:
        """A call of a tool, or a turn of an environment, that was answered."""
        what = "turns" if event.turn else "calls"
        self.count(what)
        self.count(f"{what}_nondeterministic", event.nondeterministic)
        if event.tool:
            self.count(f"called.{event.tool}")
        if event.outcome != "ok":
            self.count(f"{what}_{event.outcome}")

    def snapshot(self) -> TokenLedger:
        """The counts so far, in tokens, as the record that is stored; counts of zero are left out of `extra`."""
        extra = {**self.extra, "segments": self.segments, "steps": self.steps}
        return TokenLedger(
            prompt=self.prompt,
            cached=self.cached,
            recomputed=self.prompt - self.cached,
            generated=self.generated,
            cancelled=self.cancelled,
            extra={name: count for name, count in sorted(extra.items()) if count},
        )


def settle(ledger: TokenLedger, tree: Tree, trajectories: Sequence[Trajectory]) -> TokenLedger:
    """With `kept` and `pruned.REASON`: each generated token of the tree counts once. A segment is kept if any
    kept trajectory runs through it; else it goes to the reason of the first trajectory that does, in the
    order given."""
    seen = {tree.root.node_id}  # with a node, all above it
    tokens: dict[str, int] = {}
    for kept in (True, False):
        for trajectory in trajectories:
            if trajectory.kept is not kept:
                continue
            n, node = 0, tree.at(trajectory.leaf)
            while node.node_id not in seen:
                seen.add(node.node_id)
                n += len(node.tokens) if node.given is None else 0
                assert node.parent is not None, "the root is seen from the start"
                node = node.parent
            name = "kept" if kept else trajectory.drop_reason or "undecided"
            tokens[name] = tokens.get(name, 0) + n
    n_kept = tokens.pop("kept", 0)
    return add([ledger, TokenLedger(kept=n_kept, extra={f"pruned.{name}": n for name, n in tokens.items()})])


def add(ledgers: Iterable[TokenLedger]) -> TokenLedger:
    """The sum, field by field and extra by extra."""
    summed = list(ledgers)
    extra: dict[str, int] = {}
    for ledger in summed:
        for name, count in ledger.extra.items():
            extra[name] = extra.get(name, 0) + count
    fields = {name: sum([getattr(ledger, name) for ledger in summed]) for name in _FIELDS}
    return TokenLedger(**fields, extra=dict(sorted(extra.items())))


_FIELDS = ("prompt", "cached", "recomputed", "generated", "cancelled", "kept")
