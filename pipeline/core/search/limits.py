"""Decides, without state, when a segment ends and when a problem has had enough.

rollout ─► longest, until          budget, passed, checked ─► early_stop
    new segment ─► classify
"""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.config.sections.rollout.rollout import Budget, Rollout, TokensStep
from berry.pipeline.core import calls, steps
from berry.pipeline.core.events import FinishReason, Sampling, Until
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.records import DropReason, Finish

_STEP, _LENGTH = Finish.STEP, Finish.LENGTH


def longest(rollout: Rollout, *, prompt_len: int, context_len: int) -> int:
    """Tokens that a response may have: the trajectory's budget and the context's."""
    return min(rollout.sampling.max_tokens, context_len - prompt_len)


def until(rollout: Rollout, node: TreeNode, left: int, *, to_end: bool, token_ends: bool) -> Until:
    """Where the next segment after `node` ends, `left` tokens being left.

    The last segment that `budget.max_depth` allows runs to the end of the answer: a deeper tree is given up,
    not the answer. Where there are tools, a segment ends with a call all the same. With `thinking.steps` "after", the
    first segment is the thinking.
    """
    closes = calls.closes(rollout) if rollout.tools else ()
    if runs_to_end(rollout, node, to_end=to_end):
        return Until(left, closes, token_ends=token_ends)
    thinking = rollout.thinking
    if thinking is not None and thinking.steps == "after" and node.parent is None:
        return Until(left, (thinking.close, *closes), token_ends=token_ends)
    if isinstance(rollout.step, TokensStep):
        left = min(left, rollout.step.tokens)
    delimiters, regex = steps.stops(rollout.step)
    return Until(left, (*delimiters, *closes) if closes else delimiters, regex, token_ends=token_ends)


def runs_to_end(rollout: Rollout, node: TreeNode, *, to_end: bool) -> bool:
    """Whether the segment after `node` has no end but a tool call's and the answer's."""
    return to_end or node.steps + 1 >= rollout.budget.max_depth


def stops_early(budget: Budget) -> bool:
    """Whether `early_stop` can ever say anything."""
    return not budget.stop_after_correct is budget.hopeless_after is budget.pass_rate_band is None


@dataclass(frozen=True, slots=True)
class EndsDraws:
    """Says whether a problem's draws end by their verdicts, `early_stop` as a yes or no."""

    budget: Budget

    def __call__(self, passed: int, checked: int) -> bool:
        return early_stop(self.budget, passed=passed, checked=checked) is not None


def early_stop(budget: Budget, *, passed: int, checked: int) -> FinishReason | None:
    """Whether a problem's verdicts say that more of it is not worth its tokens."""
    if budget.stop_after_correct is not None and passed >= budget.stop_after_correct:
        return FinishReason.ENOUGH
    if budget.hopeless_after is not None and not passed and checked >= budget.hopeless_after:
        return FinishReason.HOPELESS
    if budget.pass_rate_band is not None and checked >= budget.band_after:
        low, high = wilson(passed, checked)
        if high < budget.pass_rate_band[0] or low > budget.pass_rate_band[1]:
            return FinishReason.OUT_OF_BAND
    return None


def sampling(rollout: Rollout, *, entropies: bool) -> Sampling:
    """The settings that segments are drawn with, as engines take them; `entropies` asks for them a token."""
    config = rollout.sampling
    return Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        min_p=config.min_p,
        top_logprobs=config.top_logprobs if entropies else 0,
    )


def classify(rollout: Rollout, node: TreeNode, *, max_tokens: int, left: int) -> None:
    """Settle how a new segment ended, having been asked for at most `max_tokens`, with room for `left`
    more."""
    if node.finish is _LENGTH and len(node.tokens) >= max_tokens and left > 0:
        node.finish = _STEP  # the step's own limit, not the trajectory's
    elif node.finish is _STEP and left <= 0:
        node.finish = _LENGTH
    if node.end == 0 or (not node.tokens and node.finish is _STEP):
        node.drop = DropReason.EMPTY
    elif node.finish is _LENGTH and not rollout.verify_truncated:
        node.drop = DropReason.TRUNCATED
