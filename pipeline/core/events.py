"""Commands out of a search and events into it (design, section 2). Plain frozen data: structs, since there are several
a trajectory, and a frozen dataclass takes six times as long to make.

Search.start() ─► [Command]      Search.handle(Event) ─► [Command]
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from berry.pipeline.records import Finish
from berry.verifiers.base import Verdict


class Sampling(Struct, frozen=True, gc=False):
    """How tokens are drawn. `top_logprobs` > 0 asks for that many alternatives a token, from which
    `entropies` are estimated; 0 gives the chosen token's log-probability alone."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    min_p: float = 0.0
    top_logprobs: int = 0


class Until(Struct, frozen=True, gc=False):
    """When a segment ends: at a delimiter (kept in the segment), at a regular expression's match, at the end
    of the answer, or after `max_tokens`, whichever is first. `token_ends`: the search will cut inside the
    segment and wants `Completion.token_ends`."""

    max_tokens: int
    delimiters: tuple[str, ...] = ()
    regex: str | None = None
    token_ends: bool = False


class Completion(Struct, frozen=True, gc=False):
    """One sampled segment. `logprobs` (nats) and `entropies` (nats, empty if not asked for) run along
    `token_ids`; `text` decodes exactly those tokens. `finish`: STEP at a delimiter or regex, STOP at the
    model's end, LENGTH at `max_tokens` or the context's end. `token_ends`: how many characters of `text` are
    complete after each token (not falling; the last equals len(text)); empty if not asked for
    (`berry.pipeline.core.steps.token_ends` makes them)."""

    token_ids: tuple[int, ...]
    text: str
    finish: Finish
    logprobs: tuple[float, ...] = ()
    entropies: tuple[float, ...] = ()
    cached_tokens: int = 0  # prompt tokens read from the prefix cache for this request, reported on index 0
    engine_id: str = ""
    weights_version: str = ""
    token_ends: tuple[int, ...] = ()


# ---- commands ----------------------------------------------------------------------------------------------


class Generate(Struct, frozen=True, gc=False):
    """Sample children `first_index … first_index + n - 1` of `node`. The prompt is
    `tree.prefix_ids(node)`."""

    node: str
    n: int
    until: Until
    sampling: Sampling
    seed: int
    priority: float = 0.0
    first_index: int = 0


class Score(Struct, frozen=True, gc=False):
    """Ask the value model `model` ("prm", "orm" or a scorer's name) for the value of the prefix ending at
    `node`."""

    node: str
    model: str = "prm"


class Verify(Struct, frozen=True, gc=False):
    """Check the response that ends at leaf `node`."""

    node: str


class CallTool(Struct, frozen=True, gc=False):
    """Have the tool call with which `node` ends made; what is on the way to `node` was called before (calls.py)."""

    node: str


class TakeTurn(Struct, frozen=True, gc=False):
    """Ask the environment what follows the model's turn that ends with `node`: answered by `Called`, the next turn, or
    by `Verified`, the end of the episode."""

    node: str


class Cancel(Struct, frozen=True, gc=False):
    """Stop every running Generate of `node`. A search names each node with running Generates by itself, so
    the nodes below need no looking up. Answered by one `Cancelled` (or by the segments that were quicker)."""

    node: str


class FinishReason(StrEnum):
    """Why a search ended."""

    DONE = "done"  # the policy has what it asked for
    BUDGET = "budget"  # leaves, tokens or time are spent
    ENOUGH = "enough"  # k correct trajectories found
    HOPELESS = "hopeless"  # nothing correct after the set number of leaves
    OUT_OF_BAND = "out_of_band"  # the pass rate is outside the wanted band
    FAILED = "failed"


class BudgetRequest(Struct, frozen=True, gc=False):
    """Only with `budget.reallocate`: nothing is in flight, `unspent` planned leaves were not needed, and
    `wanted` more would be of use. Answered by one `BudgetGrant`, 0 leaves included, once all searches that share
    a budget have settled (`berry.pipeline.core.allocate`)."""

    unspent: int
    wanted: int


class Finished(Struct, frozen=True, gc=False):
    """The search is over; nothing is in flight."""

    reason: FinishReason


Command = Generate | Score | Verify | Cancel | BudgetRequest | Finished | CallTool | TakeTurn

# ---- events ------------------------------------------------------------------------------------------------


class Segment(Struct, frozen=True, gc=False):
    """Child `index` of `parent` has ended. `index` is the Generate's first_index + sample number."""

    parent: str
    index: int
    completion: Completion


class Scored(Struct, frozen=True, gc=False):
    """A scorer's value of the prefix that ends with a node."""

    node: str
    value: float
    model: str = "prm"


class Verified(Struct, frozen=True, gc=False):
    """A verifier's verdict on the response that ends with a node."""

    node: str
    verdict: Verdict


class Failed(Struct, frozen=True, gc=False):
    """What was asked for `node` can't be had (after the runtime's own retries). `what`: generate, score, verify, call
    or turn; for generate, `indices` are the children that will not come."""

    node: str
    reason: str
    what: str = "generate"
    indices: tuple[int, ...] = ()


class Cancelled(Struct, frozen=True, gc=False):
    """Everything running for `node` has been stopped; `tokens` generated in vain."""

    node: str
    indices: tuple[int, ...] = ()
    tokens: int = 0


class BudgetGrant(Struct, frozen=True, gc=False):
    """Answers a BudgetRequest: so many more leaves from what other problems did not need."""

    leaves: int


class Expired(Struct, frozen=True, gc=False):
    """`budget.max_wall_s` has passed: the core has no clock."""


class Called(Struct, frozen=True, gc=False):
    """The call with which `node` ends has been made, or the environment has answered the turn that it ends: `token_ids`
    follow it, given and not sampled.

    `text` decodes exactly those tokens; `result` is what the tool said, without what the format puts around it. `role`:
    who speaks. `outcome`: how the call ended, "ok" or a reason in one word. `ended`: the tool's session ended with it,
    and what earlier calls left in it is gone. `ms`: milliseconds that it took. `nondeterministic`: calls before it,
    made again to rebuild the session of a branch, did not say what they had said. `turn`: the environment said it.
    `tool`: the name of the tool that was called; empty where none was, or an earlier version made the call."""

    node: str
    token_ids: tuple[int, ...]
    text: str
    result: str
    role: str = "tool"
    outcome: str = "ok"
    ended: bool = False
    ms: float = 0.0
    nondeterministic: bool = False
    turn: bool = False
    tool: str = ""


Event = Segment | Scored | Verified | Failed | Cancelled | BudgetGrant | Expired | Called
