"""One problem's tree on token ids: nodes hold deltas, a shared prefix is stored once.

    root (no tokens; the prompt is before it) ─► segment ─► segment ─► leaf

Text is never joined or tokenised again: the engine is always given the very ids that it produced, so its
prefix cache hits exactly. Token ids live in `array('i')` and per-token detail is kept only while a policy
needs it, so that 50,000 trajectories of one problem fit 2 GB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from msgspec import Struct

from berry.pipeline.core import seeds
from berry.pipeline.core.events import Completion
from berry.pipeline.records import DropReason, Finish
from berry.verifiers.base import Verdict

_STEP = Finish.STEP


class TreeNode(Struct, eq=False):
    """A segment. `end` is the response's length in tokens up to and with this node; `origin` and `offset` say
    which sampled segment it is (a piece of) and where it starts in it; `drop` is set where growth ended
    without an answer.

    `logprobs`, `entropies` (nats a token) and `ends` (characters of the text after each token) are None
    unless the policy asked the tree to keep detail.
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
    children: list[TreeNode] = []
    next_index: int = 0
    drop: DropReason | None = None
    verdict: Verdict | None = None
    prm: float | None = None
    orm: float | None = None

    def __repr__(self) -> str:
        return f"TreeNode({self.node_id}, depth={self.depth}, tokens={len(self.tokens)}, {self.finish.value})"


class Tree:
    """The nodes of one problem, by id. `prompt_ids` is what the engine is given before the root."""

    def __init__(self, problem_id: str, prompt_ids: Sequence[int]) -> None:
        self.problem_id = problem_id
        self.prompt_ids = array("i", prompt_ids)
        root = seeds.root_id(problem_id)
        self.root = TreeNode(root, None, 0, array("i"), 0, 0, root)
        self._nodes: dict[str, TreeNode] = {self.root.node_id: self.root}
        self.at = self._nodes.__getitem__  # what `tree[…]` is, without a call of Python's

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._nodes

    def __getitem__(self, node_id: str) -> TreeNode:
        return self._nodes[node_id]

    # ---- reading -------------------------------------------------------------------------------------------

    def path(self, node: TreeNode) -> list[TreeNode]:
        """From the first segment to `node`; the root is left out."""
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
        parent = self._nodes[node_id].parent
        return None if parent is None else parent.node_id

    def children_ids(self, node_id: str) -> list[str]:
        return [child.node_id for child in _ordered(self._nodes[node_id].children)]

    def subtree(self, node_id: str) -> list[str]:
        """`node_id` and all below it."""
        return [node.node_id for node in self.walk(self._nodes[node_id])]

    def walk(self, node: TreeNode | None = None) -> Iterator[TreeNode]:
        """`node` (the root) and all below, parents first, siblings by sample index: the same order whatever
        the order of arrival."""
        stack = [node or self.root]
        while stack:
            at = stack.pop()
            yield at
            if at.children:
                stack.extend(_ordered(at.children)[::-1])

    def leaves(self, node: TreeNode | None = None) -> Iterator[TreeNode]:
        return iter([at for at in self.walk(node) if not at.children])

    # ---- growing -------------------------------------------------------------------------------------------

    def add(
        self, parent: TreeNode, index: int, completion: Completion, *, seed: int = 0, detail: bool = False
    ) -> TreeNode:
        """The sampled child `index` of `parent`; `detail` keeps per-token figures for forking inside it."""
        node_id = seeds.node_id(self.problem_id, parent.node_id, index)
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
            node.logprob_sum = sum(logprobs)
        if entropies:
            node.mean_entropy = sum(entropies) / len(entropies)
        if detail:
            node.logprobs = array("f", logprobs) if logprobs else None
            node.entropies = array("f", entropies) if entropies else None
            node.ends = array("i", completion.token_ends) if completion.token_ends else None
        parent.children.append(node)
        self._nodes[node_id] = node
        return node

    def attach(self, node_id: str, parent: TreeNode, token_ids: Sequence[int]) -> TreeNode:
        """A node as it was stored, as the last child of `parent`; for trees that are read back."""
        node = _below(parent, node_id, len(parent.children), array("i", token_ids))
        parent.children.append(node)
        self._nodes[node_id] = node
        return node

    def split(self, node_id: str, at_token: int) -> TreeNode:
        """Cut a segment before its token `at_token` (0 < at_token < its length): the head is returned and has
        a new id derived from the place, the tail keeps the old id, its verdict and its children."""
        tail = self._nodes[node_id]
        parent = tail.parent
        if parent is None or not 0 < at_token < len(tail.tokens):
            raise ValueError(f"node {node_id} has {len(tail.tokens)} tokens: it can't be split at {at_token}")
        head_id = seeds.split_id(self.problem_id, tail.origin, tail.offset + at_token)
        head = _below(parent, head_id, tail.index, tail.tokens[:at_token])
        head.origin, head.offset = tail.origin, tail.offset
        head.seed, head.engine_id, head.weights_version = tail.seed, tail.engine_id, tail.weights_version
        _share_detail(head, tail, at_token)
        at = len(parent.children) - 1
        while parent.children[at] is not tail:  # from the end: what is cut has mostly just come
            at -= 1
        parent.children[at] = head
        tail.parent, tail.index = head, -1  # -1: the tail sorts before the forks sampled at the cut
        tail.tokens = tail.tokens[at_token:]
        tail.offset += at_token
        head.children.append(tail)
        self._nodes[head_id] = head
        for below in self.walk(tail):
            below.depth += 1
        return head

    def split_at(self, node: TreeNode, offsets: Iterable[int]) -> list[TreeNode]:
        """Cut `node` before each of the token `offsets` (ascending, inside it); the pieces in order, `node`
        last."""
        pieces: list[TreeNode] = []
        done = 0
        for offset in offsets:
            pieces.append(self.split(node.node_id, offset - done))
            done = offset
        return [*pieces, node]

    def forget_detail(self, node: TreeNode) -> None:
        node.logprobs = node.entropies = node.ends = None

    def dispose(self) -> None:
        """Nothing more is wanted of it. Parents and children hold each other: taken apart they are freed at once, where
        whole trees would pile up until the garbage collector looks."""
        for node in self._nodes.values():
            node.children.clear()
        self._nodes.clear()

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
            for detail in (node.logprobs, node.entropies, node.ends):
                assert detail is None or len(detail) == len(node.tokens), f"{node}: detail of another length"
            if node.offset:
                assert node.parent.origin == node.origin, f"{node} is a tail of another segment's head"
                assert node.parent.offset + len(node.parent.tokens) == node.offset, f"{node}: gap before it"


def _below(parent: TreeNode, node_id: str, index: int, tokens: array[int]) -> TreeNode:
    return TreeNode(node_id, parent, index, tokens, parent.depth + 1, parent.end + len(tokens), node_id)


_PLACE = attrgetter("index", "node_id")


def _ordered(children: list[TreeNode]) -> list[TreeNode]:
    return sorted(children, key=_PLACE) if len(children) > 1 else children


def _share_detail(head: TreeNode, tail: TreeNode, at_token: int) -> None:
    """Divide text, sums and per-token detail; what can't be divided without detail becomes None in both."""
    head.text, tail.text, head.ends, tail.ends = _share_text(tail, at_token)
    logprobs, entropies = tail.logprobs, tail.entropies
    if logprobs is not None:
        head.logprobs, tail.logprobs = logprobs[:at_token], logprobs[at_token:]
        head.logprob_sum, tail.logprob_sum = sum(head.logprobs), sum(tail.logprobs)
    else:
        head.logprob_sum = tail.logprob_sum = None
    if entropies is not None:
        head.entropies, tail.entropies = entropies[:at_token], entropies[at_token:]
        head.mean_entropy = sum(head.entropies) / at_token
        tail.mean_entropy = sum(tail.entropies) / len(tail.entropies)
    else:
        head.mean_entropy = tail.mean_entropy = None


def _share_text(tail: TreeNode, at_token: int) -> tuple[str | None, str | None, array[int] | None, array[int] | None]:
    ends, text = tail.ends, tail.text
    if ends is None or text is None:
        return None, None, None, None
    cut = ends[at_token - 1]
    return text[:cut], text[cut:], ends[:at_token], array("i", (end - cut for end in ends[at_token:]))
