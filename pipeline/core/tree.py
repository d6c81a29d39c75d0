"""Holds one problem's tree on token ids: nodes hold deltas, a shared prefix is stored once.

    root (no tokens; the prompt is before it) ─► segment ─► segment ─► given (a tool's result) ─► segment ─► leaf

Text is never joined or tokenised again: the engine is always given the very ids that it produced, so its
prefix cache hits exactly. Token ids live in `array('i')` and per-token detail is kept only while a policy
needs it, so that 50,000 trajectories of one problem fit 2 GB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import attrgetter

from msgspec import Struct

from berry.pipeline.core import seeds
from berry.pipeline.core.events import Called, Completion
from berry.pipeline.records import DropReason, Finish
from berry.verifiers.base import Verdict

_STEP = Finish.STEP
MANY = 1 << 30  # more samples than any node has


class TreeNode(Struct, eq=False):
    """A segment. `end` is the response's length in tokens up to and with this node; `origin` and `offset` say
    which sampled segment it is (a piece of) and where it starts in it; `drop` is set where growth ended
    without an answer.

    `index` is the sample's number among its parent's; -1: the rest of a segment that was cut in two, or that went on
    after a tool call, whose first part is the parent. `given` is set where the tokens were not sampled but are a tool's
    result: such a node is the only child of the call's. `skipped` counts the nodes on the path that are no step of
    their own: those whose index is -1 when they come, given ones among them. `weight` is one over the chance with which
    the search kept it once it was sampled: 1 for most, 0 for a branch given up, 1/share for one spared in the stead of
    others; None for a sample beyond the parent's `scheduled` first ones, which a verdict may have asked for and no
    value counts (core/values).

    `logprobs` (nats a token, float32) are None where the engine gave none. `entropies` (nats a token) and `ends`
    (characters of the text after each token) are None unless the policy asked the tree to keep detail. `prm` is the
    PRM's value of the path up to and with the node, `inner_prm` those at the steps that end inside it, in order.
    """

    node_id: str
    parent: TreeNode | None
    index: int
    tokens: array[int]
    depth: int
    end: int
    origin: str
    text: str | None = ""
    finish: Finish = _STEP
    seed: int = 0
    engine_id: str = ""
    weights_version: str = ""
    offset: int = 0
    logprob_sum: float | None = None
    mean_entropy: float | None = None
    logprobs: array[float] | None = None
    entropies: array[float] | None = None
    ends: array[int] | None = None
    children: list[TreeNode] | tuple[TreeNode, ...] = ()  # a list from the first child on: most are leaves
    next_index: int = 0
    weight: float | None = 1.0
    scheduled: int = MANY
    drop: DropReason | None = None
    verdict: Verdict | None = None
    prm: float | None = None
    orm: float | None = None
    given: Called | None = None
    skipped: int = 0
    inner_prm: list[float | None] | None = None

    @property
    def steps(self) -> int:
        """Steps up to and with this node."""
        return self.depth - self.skipped

    @property
    def tip(self) -> TreeNode:
        """Where growth goes on: the result of the call with which the node ends, else the node."""
        children = self.children
        return children[0] if children and children[0].given is not None else self

    @property
    def turn_text(self) -> str:
        """What the model has written since the last result, up to and with this node."""
        texts: list[str] = []
        at: TreeNode | None = self
        while at is not None and at.given is None:
            texts.append(at.text or "")
            at = at.parent
        return "".join(reversed(texts))

    def __repr__(self) -> str:
        return f"TreeNode({self.node_id}, depth={self.depth}, tokens={len(self.tokens)}, {self.finish.value})"


class Tree:
    """The nodes of one problem, by id. `prompt_ids` is what the engine is given before the root; `root_id` the root's
    id, if the tree is read back from one that was stored."""

    def __init__(self, problem_id: str, prompt_ids: Sequence[int], root_id: str | None = None) -> None:
        self.problem_id = problem_id
        self.prompt_ids = array("i", prompt_ids)
        root = root_id or seeds.root_id(problem_id)
        self.root = TreeNode(root, None, 0, array("i"), 0, 0, root)
        self._nodes: dict[str, TreeNode] = {self.root.node_id: self.root}
        self.at = self._nodes.__getitem__  # what `tree[…]` is, without a call of Python's
        self._parent: TreeNode | None = None  # of the node that was added last
        self._siblings = ""  # what the ids of its children are made of, without their index
        self._ordered: list[TreeNode] = []  # `walk` from the root, as long as no node has come

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._nodes

    def __getitem__(self, node_id: str) -> TreeNode:
        return self._nodes[node_id]

    # ---- reading -------------------------------------------------------------------------------------------

    def path(self, node: TreeNode) -> list[TreeNode]:
        """Nodes from the first segment to `node`; the root is left out."""
        nodes: list[TreeNode] = []
        at, above = node, node.parent
        while above is not None:
            nodes.append(at)
            at, above = above, above.parent
        nodes.reverse()
        return nodes

    def prefix_ids(self, node_id: str) -> list[int]:
        """Prompt and path: what the engine reads to go on from `node_id`."""
        ids = self.prompt_ids.tolist()
        for node in self.path(self._nodes[node_id]):
            ids.extend(node.tokens)
        return ids

    def response_ids(self, node_id: str) -> list[int]:
        """The path's token ids without the prompt."""
        ids: list[int] = []
        for node in self.path(self._nodes[node_id]):
            ids.extend(node.tokens)
        return ids

    def parent_id(self, node_id: str) -> str | None:
        """Id of a node's parent; None for the root."""
        parent = self._nodes[node_id].parent
        return None if parent is None else parent.node_id

    def walk(self, node: TreeNode | None = None) -> Iterator[TreeNode]:
        """`node` (the root) and all below, parents first, siblings by sample index: the same order whatever
        the order of arrival."""
        stack = [node or self.root]
        while stack:
            at = stack.pop()
            yield at
            if at.children:
                stack.extend(_ordered(at.children)[::-1])

    def nodes(self) -> Sequence[TreeNode]:
        """All nodes in the order of `walk`. It is kept until another node comes: a finished tree is read several
        times."""
        if len(self._ordered) != len(self._nodes):
            self._ordered = list(self.walk())
        return self._ordered

    def leaves(self, node: TreeNode | None = None) -> Iterator[TreeNode]:
        """The nodes without children at and below `node` (the root), in the order of `walk`."""
        return iter([at for at in self.walk(node) if not at.children])

    # ---- growing -------------------------------------------------------------------------------------------

    def add(
        self, parent: TreeNode, index: int, completion: Completion, *, seed: int = 0, detail: bool = False
    ) -> TreeNode:
        """The sampled child `index` of `parent`; `detail` keeps per-token figures for forking inside it. Raises
        ValueError if it is there already."""
        if parent is not self._parent:
            self._parent, self._siblings = parent, seeds.frame("node", self.problem_id, parent.node_id)
        node_id = seeds.framed_id(self._siblings, index)
        logprobs, entropies = completion.logprobs, completion.entropies
        if node_id in self._nodes:
            raise ValueError(f"child {index} of node {parent.node_id} is in the tree already")
        tokens = array("i", completion.token_ids)
        node = TreeNode(
            node_id,
            parent,
            index,
            tokens,
            parent.depth + 1,
            parent.end + len(tokens),
            node_id,
            completion.text,
            completion.finish,
            seed,
            completion.engine_id,
            completion.weights_version,
        )
        if logprobs:
            node.logprobs = array("f", logprobs)
            node.logprob_sum = sum(logprobs)
        if entropies:
            node.mean_entropy = sum(entropies) / len(entropies)
        if detail:
            node.entropies = array("f", entropies) if entropies else None
            node.ends = array("i", completion.token_ends) if completion.token_ends else None
        if index >= parent.scheduled:
            node.weight = None
        if index < 0 or parent.skipped:
            node.skipped = parent.skipped + (index < 0)
        if parent.children:
            parent.children.append(node)  # pyright: ignore[reportAttributeAccessIssue] - a list from the first child on
        else:
            parent.children = [node]
        self._nodes[node_id] = node
        return node

    def give(self, parent: TreeNode, called: Called) -> TreeNode:
        """The result of the call with which `parent` ends, as its only child. Raises ValueError if it has children."""
        if parent.children:
            raise ValueError(f"node {parent.node_id} has children: no result can follow it any more")
        node_id = seeds.framed_id(seeds.frame("node", self.problem_id, parent.node_id), -1)
        node = _below(parent, node_id, -1, array("i", called.token_ids))
        node.text, node.logprob_sum, node.given = called.text, 0.0, called
        node.skipped = parent.skipped + 1
        _adopt(parent, node)
        self._nodes[node_id] = node
        return node

    def attach(self, node_id: str, parent: TreeNode, token_ids: Sequence[int]) -> TreeNode:
        """A node as it was stored, as the last child of `parent`; for trees that are read back."""
        node = _below(parent, node_id, len(parent.children), array("i", token_ids))
        _adopt(parent, node)
        self._nodes[node_id] = node
        return node

    def split(self, node_id: str, at_token: int) -> TreeNode:
        """Cut a segment before its token `at_token` (0 < at_token < its length): the head is returned and has
        a new id derived from the place, the tail keeps the old id, its verdict and its children."""
        return self.split_at(self._nodes[node_id], [at_token])[0]

    def split_at(self, node: TreeNode, offsets: Iterable[int]) -> list[TreeNode]:
        """Cut `node` before each of the token `offsets` (ascending, inside it); the pieces in order, `node` last. Each
        token is copied once, however many pieces there are. Raises ValueError for an offset outside it."""
        cuts = list(offsets)
        if not cuts:
            return [node]
        above, length = node.parent, len(node.tokens)
        if above is None or cuts[0] <= 0 or cuts[-1] >= length or any(a >= b for a, b in pairwise(cuts)):
            raise ValueError(f"node {node.node_id} has {length} tokens: it can't be split at {cuts}")
        at = len(above.children) - 1
        while above.children[at] is not node:  # from the end: what is cut has mostly just come
            at -= 1
        pieces = [self._head(node, start, end) for start, end in pairwise([0, *cuts])]
        _share_detail(pieces, node, cuts)
        for piece in pieces:
            piece.parent, piece.depth, piece.end = above, above.depth + 1, above.end + len(piece.tokens)
            piece.weight, piece.skipped = 1.0, node.skipped
            if above is not node.parent:
                _adopt(above, piece)
            above = piece
        first, old = pieces[0], node.parent
        assert old is not None
        assert isinstance(old.children, list)
        old.children[at] = first
        first.index = node.index
        if node.weight is None:
            first.weight, node.weight = None, 1.0  # else it is of what comes behind the segment's end
        _adopt(above, node)
        node.parent, node.index = above, -1  # -1: sorts before the forks sampled at the cut
        node.tokens, node.inner_prm = node.tokens[cuts[-1] :], None
        node.offset += cuts[-1]
        for below in self.walk(node):
            below.depth += len(pieces)
        return [*pieces, node]

    def _head(self, node: TreeNode, start: int, end: int) -> TreeNode:
        """A new node for the tokens `start … end` of a segment, not placed yet."""
        head_id = seeds.split_id(self.problem_id, node.origin, node.offset + end)
        head = TreeNode(head_id, None, -1, node.tokens[start:end], 0, 0, node.origin)
        head.offset = node.offset + start
        head.seed, head.engine_id, head.weights_version = node.seed, node.engine_id, node.weights_version
        self._nodes[head_id] = head
        return head

    def forget_detail(self, node: TreeNode) -> None:
        """Frees a node's entropies and token ends, which only a growing tree needs."""
        node.entropies = node.ends = None

    def dispose(self) -> None:
        """Cut the links between parents and children of a tree that is not wanted any more, so that its memory is freed
        at once: a circle of references would stay until the garbage collector looks."""
        for node in self._nodes.values():
            node.children = ()
        self._nodes.clear()
        self._ordered = []
        self._parent = None

    # ---- checking ------------------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Raises AssertionError naming the node; run by the tests after every search."""
        reached = list(self.walk())
        assert len(reached) == len(self._nodes), f"{len(self._nodes) - len(reached)} nodes hang loose"
        assert len({node.node_id for node in reached}) == len(reached), "an id is used twice"
        for node in reached:
            assert self._nodes.get(node.node_id) is node, f"{node} is filed under another id"
            if node.parent is None:
                assert node is self.root, f"{node} has no parent"
                continue
            assert node in node.parent.children, f"{node} is no child of its parent"
            assert node.depth == node.parent.depth + 1, f"{node}: its parent has depth {node.parent.depth}"
            assert node.end == node.parent.end + len(node.tokens), f"{node} ends at {node.end}"
            assert not node.children or node.finish is Finish.STEP, f"{node} ended but has children"
            assert node.verdict is None or not node.children, f"{node} has a verdict and children"
            assert node.given is None or len(node.parent.children) == 1, f"{node} is given, and has siblings"
            for detail in (node.logprobs, node.entropies, node.ends):
                assert detail is None or len(detail) == len(node.tokens), f"{node}: detail of another length"
            if node.offset:
                assert node.parent.origin == node.origin, f"{node} is a tail of another segment's head"
                assert node.parent.offset + len(node.parent.tokens) == node.offset, f"{node}: gap before it"


def _below(parent: TreeNode, node_id: str, index: int, tokens: array[int]) -> TreeNode:
    return TreeNode(node_id, parent, index, tokens, parent.depth + 1, parent.end + len(tokens), node_id)


def _adopt(parent: TreeNode, node: TreeNode) -> None:
    children = parent.children
    if isinstance(children, list):
        children.append(node)
    else:
        parent.children = [node]


_PLACE = attrgetter("index", "node_id")


def _ordered(children: Sequence[TreeNode]) -> Sequence[TreeNode]:
    return sorted(children, key=_PLACE) if len(children) > 1 else children


def _share_detail(heads: list[TreeNode], tail: TreeNode, cuts: Sequence[int]) -> None:
    """Divide text, sums and per-token detail; what can't be divided without detail becomes None in all."""
    pieces = [*heads, tail]
    bounds = list(pairwise([0, *cuts, len(tail.tokens)]))
    logprobs, entropies, ends, text = tail.logprobs, tail.entropies, tail.ends, tail.text
    chars = 0
    for piece, (start, end) in zip(pieces, bounds, strict=True):
        if logprobs is not None:
            piece.logprobs = logprobs[start:end]
            piece.logprob_sum = sum(piece.logprobs)
        else:
            piece.logprob_sum = None
        if entropies is not None:
            piece.entropies = entropies[start:end]
            piece.mean_entropy = sum(piece.entropies) / (end - start)
        else:
            piece.mean_entropy = None
        if ends is None or text is None:
            piece.text, piece.ends = None, None
        else:
            upto = ends[end - 1]
            piece.text = text[chars:] if piece is tail else text[chars:upto]
            piece.ends = array("i", [at - chars for at in ends[start:end]]) if chars else ends[start:end]
            chars = upto
