"""Drives every search policy as one state machine: what is in flight, budgets, early stops, the in-loop cut, the end.

    start() ─► [Command]      handle(Event) ─► [Command] … ─► Finished, once, with nothing in flight
    segment that ends in a tool call ─► CallTool ─► Called: the result, as the one child of the call's node
    segment that ends the model's turn, with an environment ─► TakeTurn ─► Called: its turn; or Verified: the end

A policy overrides hooks (`begin`, `on_step`, `on_leaf`, `on_score`, `on_verdict`, `on_lost`, `on_idle`,
`extend`) and asks with `grow` and `ask_score`; everything else is here. A policy is told of a node that ends in a call
when its result is there, and what it grows from such a node comes behind the result; a sample that runs to the end of
its answer goes on by itself, and the policy is told of its end alone (`Search.sample`).

It sees no clock, no engine and no global randomness: the same events in the same order give the same commands, so a
crashed search is rebuilt by feeding it its journal. Limits in tokens are looked at when a segment ends: what is in
flight then may overrun them before it is cancelled.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core import calls, seeds
from berry.pipeline.core import events as ev
from berry.pipeline.core.events import Segment, Verified
from berry.pipeline.core.ledger import Ledger
from berry.pipeline.core.search import limits
from berry.pipeline.core.search.branches import Branches
from berry.pipeline.core.search.flight import Flight
from berry.pipeline.core.search.hooks import Hooks, P
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.records import DropReason, Finish
from berry.verifiers.base import UNANSWERED, Outcome, Reason, Verdict

_STEP, _STOP, _CANCELLED = Finish.STEP, Finish.STOP, Finish.CANCELLED  # asked for at every event
_PASS, _UNVERIFIABLE = Outcome.PASS, Outcome.UNVERIFIABLE


class Machine(Hooks[P]):
    """One problem's search. `context_len` is the engine's context in tokens, prompt included."""

    def __init__(
        self,
        problem_id: str,
        prompt_ids: Sequence[int],
        rollout: Rollout,
        *,
        run_seed: int,
        round_index: int = 0,
        context_len: int,
    ) -> None:
        self.problem_id = problem_id
        self.rollout = rollout
        self.policy: P = cast("P", rollout.policy)
        self.run_seed = run_seed
        self.round_index = round_index
        self.context_len = context_len
        self.tree = Tree(problem_id, prompt_ids)
        self._seed_frame = seeds.frame("seed", run_seed, round_index, problem_id)
        self._longest = limits.longest(rollout, prompt_len=len(prompt_ids), context_len=context_len)
        self.ledger = Ledger()
        self.finished: ev.FinishReason | None = None
        self.stopping: ev.FinishReason | None = None
        self.passed = 0
        self.checked = 0
        self.granted = 0
        self.leaves = 0  # leaves there are, or will be if all in flight comes
        self.clipped = False  # the leaf budget has held samples back
        self._flight = Flight()
        self._cut_rule = rollout.cut if self.cuts else None
        self._branches = Branches(run_seed, round_index, problem_id)
        self._most_tokens = rollout.budget.max_tokens
        self._stops_early = limits.stops_early(rollout.budget)
        self._settled = False
        self._out: list[ev.Command] = []
        self._sampling = limits.sampling(rollout, entropies=self.wants_entropies)
        self._has_tools = bool(rollout.tools)
        self._turns_call = self._has_tools and calls.ends_turns(rollout)
        self._environment = rollout.environment

    # ---- for the runtime -----------------------------------------------------------------------------------

    def start(self) -> list[ev.Command]:
        """The search's first commands. A prompt that leaves no room for a token ends the search as failed."""
        if self.room(self.tree.root) <= 0:
            self.tree.root.drop = DropReason.PROMPT_TOO_LONG
            self.stopping = ev.FinishReason.FAILED
        else:
            self.begin()
        if self._flight.empty:
            self._idle()
        out, self._out = self._out, []
        return out

    def handle(self, event: ev.Event) -> list[ev.Command]:
        """What to do now. Answers that nobody waits for (repeated, or after the end) change nothing but a
        count."""
        if isinstance(event, Segment):  # these two before the others: they are nearly all there is
            self._segment(event.parent, event.index, event.completion)
        elif isinstance(event, Verified):
            self._verified(event.node, event.verdict)
        else:
            self._other(event)
        if self._flight.empty:
            self._idle()
        out, self._out = self._out, []
        return out

    def _other(self, event: ev.Scored | ev.Cancelled | ev.Failed | ev.BudgetGrant | ev.Expired | ev.Called) -> None:
        match event:
            case ev.Called():
                self._called(event)
            case ev.Scored(node, value, model):
                self._scored(node, value, model)
            case ev.Cancelled(node, indices, tokens):
                self.ledger.cancelled += tokens
                self._lost(node, indices, DropReason.CANCELLED)
            case ev.Failed(node, reason, what, indices):
                self._failed(node, reason, what=what, indices=indices)
            case ev.BudgetGrant(leaves):
                self._grant(leaves)
            case ev.Expired():
                self.stop(ev.FinishReason.BUDGET)

    # ---- stopping ------------

    def room(self, node: TreeNode) -> int:
        """Tokens that may still follow `node`."""
        return self._longest - node.end

    def is_running(self, node: TreeNode) -> bool:
        """Whether children of `node` are being sampled."""
        return self._flight.running(node.tip.node_id)

    def ask_score(self, node: TreeNode, model: str) -> None:
        """Asks `model` for the value of `node`, once."""
        if self._flight.ask_score(node.node_id, model):
            self._out.append(ev.Score(node.node_id, model))

    def is_cut(self, node: TreeNode) -> bool:
        """Whether a node was given up by the in-loop cut, so that nothing grows there."""
        return node.node_id in self._branches.cut

    def cancel_below(self, node: TreeNode) -> None:
        """Stop what runs at and below `node` and let nothing grow there again."""
        for below in self.tree.walk(node):
            self._branches.cut.add(below.node_id)
            if self._flight.running(below.node_id):
                self._out.append(ev.Cancel(below.node_id))

    def stop(self, reason: ev.FinishReason) -> None:
        """End the search: cancel what runs, let what is being checked come in."""
        if self.stopping is None:
            self.stopping = reason
            self._out.extend(ev.Cancel(node) for node in self._flight.running_nodes)

    def look_for_stop(self) -> None:
        """End the search if its verdicts say so, in whatever order they came."""
        enough = limits.early_stop(self.rollout.budget, passed=self.passed, checked=self.checked)
        if enough is not None:
            self.stop(enough)

    # ---- events --------------------------------------------------------------------------------------------

    def _segment(self, parent_id: str, index: int, completion: ev.Completion) -> None:
        flight, ledger, tree = self._flight, self.ledger, self.tree
        asked = flight.take(parent_id, index)
        if asked is None:
            ledger.count("ignored")
            return
        parent = tree.at(parent_id)
        n_tokens = len(completion.token_ids)
        if index == asked.first:
            prefix = len(tree.prompt_ids) + parent.end
            ledger.read(prefix, completion.cached_tokens)
            if parent.given is not None:
                lost = prefix - completion.cached_tokens - len(parent.tokens)
                ledger.count("recomputed_after_calls", max(0, lost))
        if completion.finish is _CANCELLED:
            ledger.cancelled += n_tokens
            self._gone(parent, 1, DropReason.CANCELLED, rest=index < 0)
            return
        ledger.generated += n_tokens
        ledger.segments += 1
        node = tree.add(parent, index, completion, seed=asked.seed + index - asked.first, detail=self.keeps_detail)
        branches = self._branches
        if (branches.cut or branches.spared) and branches.add_sampled(node.node_id, parent_id):
            ledger.count("spared", n_tokens)
        if node.finish is not _STOP or not node.end:
            limits.classify(self.rollout, node, max_tokens=asked.max_tokens, left=self.room(node))
        limit = self._most_tokens
        if limit is not None and ledger.generated + ledger.cancelled >= limit:
            self.stop(ev.FinishReason.BUDGET)
        apart = bool(branches.apart) and branches.is_apart(parent)
        if node.drop is None:
            if self._turns_call and node.finish is _STOP and calls.find(self.rollout, node.turn_text) is not None:
                node.finish = _STEP
                self._ask_call(node, to_end=asked.to_end)
                return
            if node.finish is _STEP:
                if self._has_tools and self._is_interrupted(node, to_end=asked.to_end):
                    return
                if apart:
                    self._finish_apart(node)
                else:
                    self._step(node)
                return
            if self._environment is not None and node.finish is _STOP:
                flight.ask_call(node.node_id, to_end=asked.to_end)
                self._out.append(ev.TakeTurn(node.node_id))
                return  # the policy is told of a leaf when the episode is over
            flight.ask_verdict(node.node_id)
            self._out.append(ev.Verify(node.node_id))
        if not apart:
            self.on_leaf(node)

    def _step(self, node: TreeNode) -> None:
        self.ledger.steps += 1
        if self.stopping is not None:
            return
        if self.is_cut(node):
            self.on_cut(node)
            return
        cut = self._cut_rule
        if cut is not None:
            self.ask_score(node, cut.model)
        if cut is None or cut.speculative or self.scores_steps:
            self.on_step(node)

    # ---- tool calls --------------------------------------------------------------------------------------------------

    def _is_interrupted(self, node: TreeNode, *, to_end: bool) -> bool:
        """Whether a segment that ended at a delimiter is no step yet: it ends in a call, which is made first, or in
        what may be the end of a call and is not, and goes on."""
        text = node.text or ""
        if not calls.ends_at_close(self.rollout, text):
            return False
        if calls.find(self.rollout, node.turn_text) is None:
            delimiters = limits.until(self.rollout, node, 1, to_end=to_end, token_ends=False).delimiters
            others = [text for text in delimiters if text not in calls.closes(self.rollout)]
            if any(other in text for other in others):
                return False
            self._go_on(node, to_end=to_end)
        else:
            self._ask_call(node, to_end=to_end)
        return True

    def _ask_call(self, node: TreeNode, *, to_end: bool) -> None:
        """Have the call made with which a node ends, if its trajectory may make another."""
        made = sum(above.given is not None and not above.given.turn for above in self.tree.path(node))
        if made >= self.rollout.calls.max_calls:
            self._unanswered(node, DropReason.TOO_MANY_CALLS)
            return
        self._flight.ask_call(node.node_id, to_end=to_end)
        self._out.append(ev.CallTool(node.node_id))

    def _go_on(self, node: TreeNode, *, to_end: bool) -> None:
        """Sample the rest of a segment that was interrupted at `node`."""
        if self._branches.is_apart(node.parent):
            self._branches.apart.add(node.node_id)
        if self.stopping is not None:
            return
        if self.is_cut(node):
            self.on_cut(node)
        else:
            self.sample_rest(node, to_end=to_end)

    def _called(self, event: ev.Called) -> None:
        to_end = self._flight.take_call(event.node)
        if to_end is None:
            self.ledger.count("ignored")
            return
        node, ledger = self.tree.at(event.node), self.ledger
        ledger.called(event)
        if event.turn and self._environment is not None:
            had = 1 + sum(above.given is not None and above.given.turn for above in self.tree.path(node))
            if had >= self._environment.max_turns:
                self._unanswered(node, DropReason.TOO_MANY_TURNS)
                return
        if len(event.token_ids) >= self.room(node):
            self._unanswered(node, DropReason.RESULT_TOO_LONG)
            return
        ledger.count("given", len(event.token_ids))
        node.finish = _STEP  # which it is already where a tool was called
        given = self.tree.give(node, event)
        self._branches.add_given(given.node_id, event.node)
        apart = self._branches.is_apart(node.parent)
        if to_end:
            ledger.steps += 1
            if apart:
                self._branches.apart.add(node.node_id)
            self._go_on(given, to_end=True)
        elif apart:
            self._finish_apart(node)
        else:
            self._step(node)

    def _unanswered(self, node: TreeNode, reason: DropReason) -> None:
        """End a trajectory at a call, or a turn, that has no answer."""
        node.drop = reason
        if node.finish is _STEP:
            node.finish = Finish.CALL
        if not self._branches.is_apart(node.parent):
            self.on_leaf(node)

    @abstractmethod
    def sample_rest(self, node: TreeNode, *, to_end: bool) -> None:
        """Ask for the rest of a segment that was interrupted at `node` (base.py)."""

    def _scored(self, node_id: str, value: float | None, model: str) -> None:
        if not self._flight.take_score(node_id, model):
            self.ledger.count("ignored")
            return
        node = self.tree[node_id]
        if model == "orm":
            node.orm = value
        else:
            node.prm = value
        cut = self._cut_rule
        if cut is not None and model == cut.model and node.finish is Finish.STEP and not self.is_cut(node):
            low = value is not None and value < cut.below and node.steps >= cut.from_step
            if low and not self._branches.is_spared(self.tree, node, cut.spare):
                self._branches.drop(node)
                self.cancel_below(node)
                self.on_cut(node)
            elif not cut.speculative and not self.scores_steps and self.stopping is None:
                self.on_step(node)
        self.on_score(node, value)

    def _verified(self, node_id: str, verdict: Verdict) -> None:
        if not self._flight.take_verdict(node_id) and not self._ends_episode(node_id):
            self.ledger.count("ignored")
            return
        node = self.tree.at(node_id)
        node.verdict = verdict
        outcome = verdict.outcome
        if outcome is not _UNVERIFIABLE and verdict.reason not in UNANSWERED:
            self.checked += 1
            self.passed += outcome is _PASS
        self.on_verdict(node)
        if self._stops_early:
            self.look_for_stop()

    def _ends_episode(self, node_id: str) -> bool:
        """Whether a verdict is the environment's answer to a turn: the policy is told of the leaf now."""
        if self._environment is None or self._flight.take_call(node_id) is None:
            return False
        node = self.tree.at(node_id)
        if not self._branches.is_apart(node.parent):
            self.on_leaf(node)
        return True

    def _failed(self, node_id: str, reason: str, *, what: str, indices: tuple[int, ...]) -> None:
        if what == "generate":
            self._lost(node_id, indices, DropReason.ENGINE_FAILED)
        elif what in ("call", "turn"):
            if self._flight.take_call(node_id) is None:
                self.ledger.count("ignored")
            else:
                self.ledger.count(f"{what}s_failed")
                reason = DropReason.TOOL_FAILED if what == "call" else DropReason.TURN_FAILED
                self._unanswered(self.tree[node_id], reason)
        elif what == "verify":
            known = Reason(reason) if reason in set(Reason) else Reason.NOT_CHECKED
            self._verified(node_id, Verdict(Outcome.UNVERIFIABLE, known, evidence={"failed": reason}))
        else:
            for model in self._flight.models(node_id):
                self._scored(node_id, None, model)

    def _lost(self, node_id: str, indices: tuple[int, ...], drop: DropReason) -> None:
        wanted = indices or self._flight.indices(node_id)
        gone = sum(self._flight.take(node_id, index) is not None for index in wanted)
        if gone:
            if drop is DropReason.ENGINE_FAILED:
                self.ledger.count("failed", gone)
            self._gone(self.tree[node_id], gone, drop, rest=-1 in wanted)

    def _gone(self, node: TreeNode, count: int, reason: DropReason, *, rest: bool = False) -> None:
        """`count` samples of `node` will not come; `rest`: it is the rest of a segment, which ends here."""
        childless = not node.children and not self._flight.running(node.node_id)
        self.leaves -= count - (childless and node.parent is not None)
        if childless and node.drop is None:
            node.drop = reason
        if node.node_id in self._branches.apart:
            return
        if rest:
            self.on_leaf(node)
        else:
            self.on_lost(node if node.given is None or node.parent is None else node.parent, count)

    # ---- sparing -----------------------------------------------------------------------------------------------------

    def give_up(self, node: TreeNode) -> None:
        """Grow `node` no further, as a policy decides by its score; but spare the policy's share at random: those are
        finished apart from the policy, by one continuation, and weigh one over the share. What the in-loop cut has
        spared is finished so too, with the weight that it has."""
        if self._branches.is_spared(self.tree, node, self.spared_share(self.policy)):
            self._finish_apart(node)
        else:
            self._branches.drop(node)

    def _finish_apart(self, node: TreeNode) -> None:
        self._branches.apart |= {node.node_id, node.tip.node_id}
        if not self.grow(node, 1, to_end=True) and self.stopping is None:
            self._branches.none_spared = True

    @abstractmethod
    def grow(self, node: TreeNode, n: int, *, to_end: bool = False) -> int:
        """Ask for `n` more children of `node` (base.py)."""

    # ---- the end -------------------------------------------------------------------------------------------

    def _idle(self) -> None:
        """Nothing is awaited: ask the policy for more, else end."""
        if self.finished is None and not self._settled:
            if self.stopping is None:
                self.on_idle()
            if self._flight.empty:
                self._end()

    def _end(self) -> None:
        if self.rollout.budget.reallocate and not self.granted and self.stopping is not ev.FinishReason.FAILED:
            self._settled = True
            wanted = 0 if self.stopping is not None else self.wanted()
            unspent = max(0, self.planned_leaves(self.policy) - self.leaves)
            self._out.append(ev.BudgetRequest(unspent, wanted))
            return
        self._finish()

    def _grant(self, leaves: int) -> None:
        if not self._settled:
            self.ledger.count("ignored")
            return
        self._settled = False
        self.granted = leaves
        if leaves and self.stopping is None:
            self.ledger.count("granted_leaves", leaves)
            self.extend(leaves)
        if self._flight.empty:
            self._finish()

    def _finish(self) -> None:
        self.finished = self.stopping or (ev.FinishReason.BUDGET if self.clipped else ev.FinishReason.DONE)
        if not self.tree.root.children:
            self.finished = ev.FinishReason.FAILED
        planned = self.planned_leaves(self.policy)
        self.ledger.count("planned_leaves", planned)
        self.ledger.count("saved_leaves", max(0, planned - self.leaves))
        self._out.append(ev.Finished(self.finished))
