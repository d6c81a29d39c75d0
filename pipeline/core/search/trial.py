"""Tells how a policy's trees grow, by growing some: the policy's own search, on made-up answers instead of a model's.

    policy, Lengths ─► search ─► Generate ─► _World (lengths, verdicts, scores drawn) ─► events … ─► TreeShape (means)

So every policy can be planned, whoever wrote it. What is assumed of the answers:

    problems   each has a mean length (gamma) and a pass rate (beta) of its own
    lengths    T steps ~ gamma with the problem's mean; given that a trajectory has come to t, T | T > t
    errors     each step but the last, which says the answer, is the first wrong one with chance e, so that
               E[(1 - e)^(T - 1)] is the problem's pass rate
    scores     0 once wrong, else the chance that the answer stays right: a scorer knows right from wrong, but does not
               favour an answer for having ended
    time       every running sequence gains a token a tick; verdicts and scores take none

A step of the trial has `UNITS_A_STEP` tokens; trajectories of more than `MOST_STEPS` steps are
tried with fewer, longer ones, and their requests are scaled up. The draws are hashes: the same policy and lengths give
the same shape, always.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, log

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Budget, Rollout, SamplingConfig, TokensStep
from berry.pipeline.core import events as ev
from berry.pipeline.core.search.registry import make_search
from berry.pipeline.core.seeds import digest
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.records import Finish
from berry.verifiers.base import Outcome, Reason, Verdict

UNITS_A_STEP = 4
MOST_STEPS = 64
TREES = 32  # grown at most
SEGMENTS = 12_000  # after which no further tree is begun
LENGTH_CLASSES, RATE_CLASSES = 16, 16  # kinds of problems, by mean length and by pass rate
RATE_STEPS = 200
_RIGHT, _WRONG = 1, 0  # tokens of the trial: no error so far, or one
_PASS = Verdict(Outcome.PASS, Reason.CORRECT)
_FAIL = Verdict(Outcome.FAIL, Reason.WRONG_ANSWER)


@dataclass(frozen=True, slots=True)
class Lengths:
    """What a plan knows of the answers.

    `output`: mean tokens of a trajectory after the prompt; `output_scv`: their variance over the squared mean, and
    `within` the share of it that is within a problem; `step`: mean tokens of a step; `pass_rate`: share of trajectories
    that pass, and `alike` how alike those of a problem are (the intraclass correlation: 0 where all problems are
    equally hard, 1 where each is always or never solved); `max_depth`: the deepest a tree may grow, in steps.
    """

    output: float
    output_scv: float
    step: float
    pass_rate: float
    within: float = 0.5
    alike: float = 0.3
    max_depth: int = 64


@dataclass(frozen=True, slots=True)
class TreeShape:
    """One problem's tree in means over the trees tried. Tokens leave the prompt out.

    `leaves`: trajectories that end their answer; `generated`: tokens, `independent`: of as many trajectories that share
    nothing; `requests`: Generate commands, `sequences`: samples they ask for, each begun from a cached prefix of
    `starts` tokens; `running`: sequences at once over the tree's time; `behind`: tokens of the answer behind a running
    sequence; `distinct`: tokens of the tree in use under all that are running.
    """

    leaves: float
    generated: float
    independent: float
    requests: float
    sequences: float
    starts: float
    running: float
    behind: float
    distinct: float


def tree_shape(policy: PolicyConfig, lengths: Lengths) -> TreeShape:
    """The mean shape of `policy`'s trees on answers of these lengths; a second call with equal ones costs nothing."""
    return _tried(type(policy), policy.model_dump_json(), lengths)


@lru_cache(maxsize=256)
def _tried(kind: type[PolicyConfig], dumped: str, lengths: Lengths) -> TreeShape:
    policy = kind.model_validate_json(dumped)
    steps = min(max(lengths.output / lengths.step, 1.0), float(MOST_STEPS))
    unit = lengths.output / steps / UNITS_A_STEP  # tokens that one token of the trial stands for
    real_steps = max(lengths.output / lengths.step, 1.0)  # for each of `steps`
    own_scv = lengths.within * lengths.output_scv
    factors = _bins(_length_chances(64.0, (1 + lengths.output_scv) / (1 + own_scv) - 1), LENGTH_CLASSES)
    classes = [_length_chances(steps * factor / 64, own_scv) for factor in factors]
    rates = _bins(_rate_chances(lengths.pass_rate, lengths.alike), RATE_CLASSES)
    step = TokensStep(tokens=UNITS_A_STEP)
    budget = Budget(max_depth=max(1, round(lengths.max_depth * steps / real_steps)))
    grown = _TrialSums()
    trees = 0
    while trees < TREES and (grown.segments < SEGMENTS or trees < LENGTH_CLASSES):
        # a step of the golden ratio apart, and of its cousin: the classes are met as evenly as can be
        length_class = int((trees + 0.5) * 0.6180339887 % 1 * LENGTH_CLASSES)
        rate_class = int((trees + 0.5) * 0.7548776662 % 1 * RATE_CLASSES)
        world = _World(classes[length_class], (rates[rate_class] - 1) / RATE_STEPS)
        sampling = SamplingConfig(max_tokens=world.longest)
        rollout = Rollout(policy=policy, step=step, sampling=sampling, budget=budget)
        _grow(rollout, world, grown, seed=trees)
        trees += 1
    unit *= steps / (grown.drawn / max(grown.fresh, 1))  # the mean length, as it came out
    n, ticks = float(trees), float(max(grown.ticks, 1))
    finer = real_steps / steps  # requests that one step of the trial stands for
    whole, by_step = grown.whole, grown.sequences - grown.whole
    scale = (whole + by_step * finer) / max(grown.sequences, 1)
    return TreeShape(
        leaves=grown.leaves / n,
        generated=grown.generated * unit / n,
        independent=grown.independent * unit / n,
        requests=grown.requests * scale / n,
        sequences=grown.sequences * scale / n,
        starts=grown.starts * unit / max(grown.sequences, 1),
        running=grown.running / ticks,
        behind=grown.behind * unit / max(grown.running, 1),
        distinct=grown.distinct * unit / ticks,
    )


@dataclass(slots=True)
class _TrialSums:
    """Sums over the trees, in tokens of the trial; the last four over ticks. `whole`: sequences asked to run to the end
    of the answer; `fresh`: those that begin at the root, and `drawn`: the steps that they would come to."""

    leaves: int = 0
    generated: int = 0
    independent: int = 0
    requests: int = 0
    sequences: int = 0
    whole: int = 0
    fresh: int = 0
    drawn: int = 0
    starts: int = 0
    segments: int = 0
    ticks: int = 0
    running: int = 0
    behind: int = 0
    distinct: int = 0


class _World:
    """Answers of random length that go wrong at a random step; all but the last step, which says the answer, may."""

    def __init__(self, chances: list[float], pass_rate: float) -> None:
        """`chances` of 1, 2, … steps."""
        n = len(chances)
        self.longest = n * UNITS_A_STEP
        left = 1.0
        self.survival = [1.0]  # survival[n]: chance of more than n steps
        for chance in chances:
            left -= chance
            self.survival.append(max(left, 0.0))
        self.survival[-1] = 0.0
        self.minus = [-share for share in self.survival]  # ascending, for bisect
        self.error = _error_rate(chances, pass_rate)
        self.value = [1.0] * (n + 1)  # value[n]: chance that what is right after n steps stays right
        later = 0.0  # of those with more than n + 1 steps
        for done in reversed(range(n - 1)):
            later = (1 - self.error) * (later + chances[done + 1])
            if self.survival[done] > 0:
                self.value[done] = min(1.0, (later + chances[done]) / self.survival[done])

    def segments(self, node: TreeNode, command: ev.Generate, *, entropies: bool) -> Iterator[tuple[int, ev.Completion]]:
        """The samples of a request, each with the steps its whole answer would have.

        Lengths are spread evenly (a step of the golden ratio apart), so that a few trees give good means; errors are
        not, since policies look at whether any of a few samples passes."""
        done = node.end // UNITS_A_STEP
        wrong = bool(node.tokens) and node.tokens[-1] == _WRONG
        first = _uniform(command.seed, -1)
        for i in range(command.n):
            chance = (first + i * 0.6180339887498949) % 1
            steps = max(done + 1, bisect_left(self.minus, -self.survival[done] * chance))
            right = 0 if wrong else self._right(done, steps, _uniform(command.seed, i)) - node.end
            length = steps * UNITS_A_STEP - node.end
            n = min(length, command.until.max_tokens)
            right = max(0, min(n, right))
            completion = ev.Completion(
                token_ids=(_RIGHT,) * right + (_WRONG,) * (n - right),
                text="",
                finish=Finish.STOP if n == length else Finish.LENGTH,
                entropies=_noise(f"{command.seed}/{i}", n) if entropies else (),
            )
            yield steps, completion

    def _right(self, done: int, steps: int, chance: float) -> int:
        """Where the first wrong step after `done` of all `steps` begins; beyond their end if there is none."""
        if self.error >= 1:
            right = done
        else:
            right = done + int(log(1 - chance) / log(1 - self.error)) if self.error > 0 else steps
        return (right if right < steps - 1 else steps) * UNITS_A_STEP

    def score(self, node: TreeNode) -> float:
        if node.tokens and node.tokens[-1] == _WRONG:
            return 0.0
        return self.value[node.end // UNITS_A_STEP]


def _uniform(seed: int, index: int) -> float:
    """A number in [0, 1) from the hash of both."""
    return int.from_bytes(digest(seed, index)[:6], "big") / 2**48


def _noise(seed: str, n: int) -> tuple[float, ...]:
    """`n` numbers in [0, 1] without order: uncertainties of tokens."""
    blocks = b"".join([digest(seed, block, size=64) for block in range(-(-n // 64))])
    return tuple([byte / 255 for byte in blocks[:n]])


def _length_chances(mean: float, scv: float) -> list[float]:
    """Chances of 1, 2, …: a gamma density at whole numbers, scaled to have this mean exactly."""
    shape = 1 / scv if scv > 0 else 0.0
    if not shape or shape > 10_000 or mean <= 1:
        low = max(1, int(mean))  # no spread: the two whole numbers about the mean
        return [*[0.0] * (low - 1), 1 - max(0.0, mean - low), max(0.0, mean - low)]
    longest = ceil(mean * (1 + 8 * scv**0.5) + 8)
    powers = [(shape - 1) * log(t) for t in range(1, longest + 1)]
    scale, weights, total = mean / shape, [], 1.0
    for _ in range(12):  # what the whole numbers add to the mean, or the end cuts off it, is taken out of the scale
        logs = [power - t / scale for t, power in enumerate(powers, start=1)]
        top = max(logs)
        weights = [exp(value - top) for value in logs]
        total = sum(weights)
        found = sum(t * weight for t, weight in enumerate(weights, start=1)) / total
        scale *= mean / found
        if abs(found / mean - 1) < 1e-6:
            break
    return [weight / total for weight in weights]


def _rate_chances(mean: float, alike: float) -> list[float]:
    """Chances of the pass rates 0, 1/RATE_STEPS, … 1 among problems: a beta density of this mean and intraclass
    correlation."""
    if alike <= 0 or not 0 < mean < 1:
        at = mean * RATE_STEPS
        low = min(int(at), RATE_STEPS - 1)
        return [*[0.0] * low, 1 - (at - low), at - low, *[0.0] * (RATE_STEPS - low - 1)]
    many = 1 / min(alike, 0.999) - 1
    a, b = mean * many, (1 - mean) * many
    edges = [0.25 / RATE_STEPS, *(i / RATE_STEPS for i in range(1, RATE_STEPS)), 1 - 0.25 / RATE_STEPS]
    logs = [(a - 1) * log(x) + (b - 1) * log(1 - x) for x in edges]
    top = max(logs)
    weights = [exp(value - top) for value in logs]
    return [weight / sum(weights) for weight in weights]


def _bins(chances: list[float], n: int) -> list[float]:
    """Means of `n` equally likely parts of a distribution over 1, 2, …, in order."""
    means: list[float] = []
    value, left = 1, chances[0]
    for _ in range(n):
        need, total = 1 / n, 0.0
        while need > left and value < len(chances):
            total += left * value
            need -= left
            value += 1
            left = chances[value - 1]
        total += need * value
        left -= need
        means.append(total * n)
    return means


def _error_rate(chances: list[float], pass_rate: float) -> float:
    """Chance of an error a step but the last with which this share of the answers is right."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        passing, power = 0.0, 1.0
        for chance in chances:
            passing += chance * power
            power *= 1 - middle
        if passing > pass_rate:
            low = middle
        else:
            high = middle
    return high if pass_rate <= 0 else low


@dataclass(slots=True)
class _TrialSample:
    """A sample in the making: begun at tick `began`, with what it will be."""

    node: TreeNode
    index: int
    began: int
    completion: ev.Completion


def _grow(rollout: Rollout, world: _World, grown: _TrialSums, *, seed: int) -> None:
    """One tree, from start to end; its figures are added to `grown`."""
    search = make_search(f"trial-{seed}", (0,), rollout, run_seed=seed, context_len=world.longest + 1)
    ends: list[tuple[int, int]] = []  # (tick at which it ends, key) of what runs
    running: dict[int, _TrialSample] = {}
    waiting: deque[ev.Event] = deque()
    now = key = 0

    def take(commands: list[ev.Command]) -> None:
        nonlocal key
        for command in commands:
            match command:
                case ev.Generate():
                    node = search.tree[command.node]
                    grown.requests += 1
                    grown.sequences += command.n
                    grown.whole += command.n * (command.until.max_tokens >= search.room(node))
                    grown.starts += command.n * node.end
                    made = world.segments(node, command, entropies=search.wants_entropies)
                    for index, (steps, completion) in enumerate(made, start=command.first_index):
                        grown.fresh += node.parent is None
                        grown.drawn += steps if node.parent is None else 0
                        running[key] = _TrialSample(node, index, now, completion)
                        heapq.heappush(ends, (now + len(completion.token_ids), key))
                        key += 1
                case ev.Verify(node_id):
                    passed = search.tree[node_id].tokens[-1] == _RIGHT
                    waiting.append(ev.Verified(node_id, _PASS if passed else _FAIL))
                case ev.Score(node_id, model):
                    waiting.append(ev.Scored(node_id, world.score(search.tree[node_id]), model))
                case ev.Cancel(node_id):
                    gone = [(k, one) for k, one in running.items() if one.node.node_id == node_id]
                    for k, _ in gone:
                        del running[k]
                    tokens = sum(now - one.began for _, one in gone)
                    waiting.append(ev.Cancelled(node_id, tuple(one.index for _, one in gone), tokens=tokens))
                case ev.BudgetRequest():
                    waiting.append(ev.BudgetGrant(0))
                case ev.Finished():
                    pass

    take(search.start())
    while search.finished is None:
        while waiting:
            take(search.handle(waiting.popleft()))
        if not running:
            break
        while ends[0][1] not in running:
            heapq.heappop(ends)
        _tick(list(running.values()), now, ends[0][0], grown)
        now = ends[0][0]
        while ends and ends[0][0] == now:
            one = running.pop(heapq.heappop(ends)[1], None)
            if one is not None:
                grown.segments += 1
                waiting.append(ev.Segment(one.node.node_id, one.index, one.completion))
    generated = search.ledger.snapshot()
    grown.generated += generated.generated + generated.cancelled
    for leaf in search.tree.leaves():
        if leaf.finish is Finish.STOP:
            grown.leaves += 1
            grown.independent += leaf.end
    search.tree.dispose()


def _tick(running: list[_TrialSample], begin: int, end: int, grown: _TrialSums) -> None:
    """Add up what is in use while `running` grow from tick `begin` to `end`, by how it is in the middle."""
    ticks = end - begin
    fresh = [(begin + end) / 2 - one.began for one in running]
    seen: set[str] = set()
    below = sum(len(node.tokens) for one in running for node in _unseen(one.node, seen))
    grown.ticks += ticks
    grown.running += len(running) * ticks
    grown.behind += round(ticks * sum(one.node.end + own for one, own in zip(running, fresh, strict=True)))
    grown.distinct += round(ticks * (below + sum(fresh)))


def _unseen(node: TreeNode, seen: set[str]) -> Iterator[TreeNode]:
    """`node` and what is above it as far as it was not met before."""
    at: TreeNode | None = node
    while at is not None and at.node_id not in seen:
        seen.add(at.node_id)
        yield at
        at = at.parent
