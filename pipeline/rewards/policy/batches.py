"""Divides an optimiser step into passes that fit memory.

the trees of a step (training/step_order.py) ─► packs of at most so many tokens (or padded rows)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from berry.pipeline.rewards.packing.layout import Pack, pack, packed_tokens, pad
from berry.pipeline.rewards.policy.examples import PolicySequence, PolicyTree, SiblingPair
from berry.pipeline.rewards.policy.objectives.base import Batch


@dataclass(frozen=True, slots=True)
class Passes:
    """How sequences are read. `tokens`: most of one pass, but for a sequence that is longer by itself; None: not
    packed; `rows`: of a padded pass; `temperature`: what divides the logits."""

    tokens: int | None
    rows: int
    temperature: float = 1.0


def batches(trees: Sequence[PolicyTree], passes: Passes) -> Iterator[Batch]:
    """The passes over these trees. The two responses of a pair are in one."""
    if any(tree.pairs for tree in trees):
        for tree in trees:
            yield from _paired(tree, passes)
        return
    sequences = [one for tree in trees for one in tree.sequences]
    for made, members in _read(sequences, passes):
        yield Batch(made, members, temperature=passes.temperature)


def _read(sequences: Sequence[PolicySequence], passes: Passes) -> Iterator[tuple[Pack, list[PolicySequence]]]:
    if passes.tokens is not None:
        most = max(passes.tokens, *(len(s.ids) for s in sequences)) if sequences else passes.tokens
        for made in pack([s.ids for s in sequences], most, keys=[s.keys for s in sequences]):
            yield made, [sequences[number] for number in made.members]
        return
    for start in range(0, len(sequences), passes.rows):
        some = list(sequences[start : start + passes.rows])
        yield pad([s.ids for s in some]), some


def _paired(tree: PolicyTree, passes: Passes) -> Iterator[Batch]:
    """One pass where the tree fits, else its pairs in halves."""
    used = sorted({number for pair in tree.pairs for number in (pair.chosen, pair.rejected)})
    sequences = [tree.sequences[number] for number in used]
    fits = packed_tokens([s.ids for s in sequences]) <= passes.tokens if passes.tokens else len(used) <= passes.rows
    if not fits and len(tree.pairs) > 1:
        half = len(tree.pairs) // 2
        yield from _paired(replace(tree, pairs=tree.pairs[:half]), passes)
        yield from _paired(replace(tree, pairs=tree.pairs[half:]), passes)
        return
    # Two responses of one pair are read together even where they are more than a pass should hold.
    tokens = None if passes.tokens is None else max(passes.tokens, sum(len(s.ids) for s in sequences))
    room = replace(passes, tokens=tokens, rows=len(used))
    [(made, members)] = _read(sequences, room)
    number_of = {used[number]: at for at, number in enumerate(made.members)}
    pairs = [SiblingPair(number_of[p.chosen], number_of[p.rejected], p.shared) for p in tree.pairs]
    yield Batch(made, members, pairs, temperature=passes.temperature)
