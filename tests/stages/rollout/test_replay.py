"""A search killed after any event, and replayed from its journal, ends with the tree it would have had."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berry.pipeline.config.sections.rollout.rollout import Budget, DelimiterStep, Rollout
from berry.pipeline.core.events import (
    Cancel,
    Cancelled,
    Command,
    Completion,
    Event,
    Finished,
    Generate,
    Score,
    Scored,
    Segment,
    Verified,
    Verify,
)
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.registry import make_search
from berry.pipeline.records import Finish
from berry.pipeline.stages.rollout.journal import CommandDigest, LeaseJournal
from berry.pipeline.stages.rollout.pending import PendingCommands
from berry.pipeline.storage.files import locate
from berry.verifiers.base import Outcome, Reason, Verdict

POLICIES = [
    Rollout(policy=BestOfN(n=5)),
    Rollout(policy=BestOfN(n=8), budget=Budget(stop_after_correct=2)),
    Rollout(policy=Fixed(branching=(3, 2)), step=DelimiterStep(delimiters=("\n",))),
    Rollout(policy=Entropy(chains=3, forks=2, rounds=1, branches=2)),
]


def answer(command: Command) -> list[Event]:
    """What an ideal engine and verifier say to one command: a function of its seed alone."""
    match command:
        case Generate(node, n, until, _, seed, _, first):
            return [Segment(node, first + i, sample(seed + i, steps=bool(until.delimiters))) for i in range(n)]
        case Verify(node):
            passed = int(node, 16) % 3 == 0
            return [
                Verified(
                    node,
                    Verdict(
                        Outcome.PASS if passed else Outcome.FAIL,
                        Reason.CORRECT if passed else Reason.WRONG_ANSWER,
                        answer="7",
                        evidence={"got": [1, "x"]},
                    ),
                )
            ]
        case Score(node, model):
            return [Scored(node, 0.5, model)]
        case _:
            assert isinstance(command, (Cancel, Finished))
            return []


def sample(seed: int, *, steps: bool) -> Completion:
    draw = random.Random(seed)
    length = draw.randint(2, 9)
    ids = tuple(draw.randint(3, 99) for _ in range(length))
    goes_on = steps and draw.random() < 0.5
    return Completion(
        token_ids=ids,
        text="ab" * length,
        finish=Finish.STEP if goes_on else Finish.STOP,
        logprobs=tuple(-draw.random() for _ in ids),
        entropies=tuple(draw.random() for _ in ids),
        token_ends=tuple(2 * (i + 1) for i in range(length)),
        cached_tokens=draw.randint(0, 5),
        engine_id="e",
    )


def new_search(rollout: Rollout) -> Search:
    return make_search("p", [1, 2, 3], rollout, run_seed=5, round_index=0, context_len=4096)


def drive(
    search: Search,
    commands: Sequence[Command],
    order: random.Random,
    *,
    extra: Sequence[Event] = (),
    kill_after: int | None = None,
    journal: list[Event] | None = None,
) -> CommandDigest:
    """Feeds answers in a random order until the search ends or is killed."""
    chain = CommandDigest()
    chain.follow(commands)
    pending = [event for c in commands for event in answer(c)] + list(extra)
    while search.finished is None:
        if kill_after is not None and chain.events >= kill_after:
            return chain
        event = pending.pop(order.randrange(len(pending)))
        if journal is not None:
            journal.append(event)
        produced = search.handle(event)
        chain.events += 1
        chain.follow(produced)
        for command in produced:
            if isinstance(command, Cancel):
                cut = [e for e in pending if isinstance(e, Segment) and e.parent == command.node]
                pending = [e for e in pending if e not in cut]
                pending += [Cancelled(e.parent, (e.index,), 1) for e in cut if isinstance(e, Segment)]
            pending += answer(command)
    return chain


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rollout=st.sampled_from(POLICIES), kill_after=st.integers(0, 40), seed=st.integers(0, 2**16))
def test_killed_after_any_event_a_search_goes_on_to_the_same_tree(rollout: Rollout, kill_after: int, seed: int) -> None:
    journal: list[Event] = []
    first = new_search(rollout)
    drive(first, first.start(), random.Random(seed), kill_after=kill_after, journal=journal)
    second = new_search(rollout)
    left = PendingCommands()
    left.issued(second.start())
    for event in journal:
        left.answered(event)
        left.issued(second.handle(event))
    assert second.digest() == first.digest()
    if left.finished is None:
        drive(second, left.commands(), random.Random(seed + 1), extra=left.cancelled())
    assert second.finished is not None
    second.tree.check_invariants()
    if rollout.budget.stop_after_correct is None:
        whole = new_search(rollout)
        drive(whole, whole.start(), random.Random(seed + 2))
        assert _drawn(second) == _drawn(whole)


def _drawn(search: Search) -> set[object]:
    return {(n.node_id, tuple(n.token_ids), tuple(n.logprobs or ()), n.value) for n in search.nodes()}


async def journalled(tmp_path: Path, events: Sequence[Event], *, flushes: int, chain: CommandDigest) -> LeaseJournal:
    journal = LeaseJournal(locate(tmp_path), lease=4, round_index=0)
    journal.track("p", lambda: chain)
    per = max(1, len(events) // flushes)
    for number, event in enumerate(events, start=1):
        journal.record("p", event)
        if number % per == 0:
            await journal.flush()
    await journal.flush()
    return journal


@pytest.fixture
def history() -> tuple[list[Event], CommandDigest]:
    events: list[Event] = []
    search = new_search(POLICIES[2])
    chain = drive(search, search.start(), random.Random(3), kill_after=9, journal=events)
    return events, chain


async def test_events_come_back_as_they_were(tmp_path: Path, history: tuple[list[Event], CommandDigest]) -> None:
    events, chain = history
    await journalled(tmp_path, events, flushes=3, chain=chain)
    again = LeaseJournal(locate(tmp_path), lease=4, round_index=0)
    again.load()
    assert again.past["p"].events == events
    assert again.past["p"].marks == {chain.events: chain.digest}


async def test_a_damaged_segment_ends_the_journal_there(
    tmp_path: Path, history: tuple[list[Event], CommandDigest]
) -> None:
    events, chain = history
    journal = await journalled(tmp_path, events, flushes=3, chain=chain)
    location = locate(tmp_path)
    name = f"{journal.folder}/{location.names(journal.folder)[1]}"
    data = bytearray(location.get(name) or b"")
    data[-1] ^= 1
    location.put(name, bytes(data))
    again = LeaseJournal(location, lease=4, round_index=0)
    again.load()
    assert again.past["p"].events == events[: len(events) // 3]


async def test_what_a_replaced_worker_still_writes_is_not_replayed(
    tmp_path: Path, history: tuple[list[Event], CommandDigest]
) -> None:
    events, chain = history
    zombie = await journalled(tmp_path, events[:5], flushes=1, chain=chain)
    successor = LeaseJournal(locate(tmp_path), lease=4, round_index=0)
    successor.load()
    zombie.record("p", events[5])
    await zombie.flush()
    successor.record("p", events[6])
    await successor.flush()
    third = LeaseJournal(locate(tmp_path), lease=4, round_index=0)
    third.load()
    assert third.past["p"].events == [*events[:5], events[6]]


async def test_a_removed_journal_leaves_nothing(tmp_path: Path, history: tuple[list[Event], CommandDigest]) -> None:
    events, chain = history
    journal = await journalled(tmp_path, events, flushes=2, chain=chain)
    await journal.remove()
    journal.record("p", events[0])
    assert await journal.flush() == 0
    assert locate(tmp_path).folders("round=0/journal") == []


async def test_a_flush_that_fails_keeps_its_records(
    tmp_path: Path, history: tuple[list[Event], CommandDigest], monkeypatch: pytest.MonkeyPatch
) -> None:
    from berry.pipeline.errors import StorageError
    from berry.pipeline.storage.run import segments

    events, _ = history
    journal = LeaseJournal(locate(tmp_path), lease=4, round_index=0)
    write = segments.write

    def full(*_: object, **__: object) -> int:
        raise StorageError("no space left")

    monkeypatch.setattr(segments, "write", full)
    journal.record("p", events[0])
    with pytest.raises(StorageError):
        await journal.flush()
    monkeypatch.setattr(segments, "write", write)
    journal.record("p", events[1])
    await journal.flush()
    again = LeaseJournal(locate(tmp_path), lease=4, round_index=0)
    again.load()
    assert again.past["p"].events == events[:2]


async def test_a_reset_forgets_what_came_before(tmp_path: Path, history: tuple[list[Event], CommandDigest]) -> None:
    events, chain = history
    journal = await journalled(tmp_path, events, flushes=1, chain=chain)
    journal.reset("p")
    journal.record("p", events[0])
    await journal.flush()
    again = LeaseJournal(locate(tmp_path), lease=4, round_index=0)
    again.load()
    assert again.past["p"].events == events[:1]
