"""Values of a tree whose prefixes were completed only to be labelled (`berry annotate`).

    tree, its own values ─► annotated ─► Values: of a completed prefix the share of its completions that pass

    value(s) = passed / checked over the completions that were drawn from s to label it        (Wang et al. 2024, eq. 4)

A completion is a leaf with the drop reason `annotation`. It is drawn after the search, whatever the search found, so
that its verdict is an unbiased estimate of the value of the prefix however that was chosen: also of one that lies on a
kept or on a dropped trajectory. The continuations that the search itself drew are left out for the same reason: a
trajectory that was chosen since it passed says nothing unbiased of its own prefixes. What a completion says counts for
its prefix alone, and for nothing above it.

Where prefixes were chosen by verdicts (`chosen_by_verdict`), the search's own estimates at the others are what is left
after that choice, and are null; the root keeps its own, unless it was completed too. Finished answers keep their
verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from berry.pipeline.core.tree_view import NodeView, TreeView
from berry.pipeline.core.values.estimate import Draws, Found, Scheme, Value, Values, estimate, is_known, value_of
from berry.pipeline.records import DropReason, ValueKind

_ANNOTATION = DropReason.ANNOTATION


def completions(node: NodeView) -> Sequence[NodeView]:
    """The leaves that were sampled from a node only to label it. They come behind its other children."""
    children = node.children
    if not children or children[-1].drop is not _ANNOTATION:
        return ()
    return [child for child in children if child.drop is _ANNOTATION]


def is_annotated(tree: TreeView) -> bool:
    """Whether any prefix was completed to label it."""
    return any(completions(node) for node in tree.walk())


def annotated(tree: TreeView, scheme: Scheme, *, chosen_by_verdict: bool) -> Values:
    """The values of a tree with completions; `scheme` says how its own search drew. A root that was completed has no
    estimate of its own: its search's draws are told apart from the completions no more."""
    if completions(tree.root):
        scheme = replace(scheme, adaptive=True, ends=None)
    own = estimate(tree, scheme)
    found: Found = dict(own.found)
    for node in tree.walk():
        value, up = own.found[node.node_id]
        drawn = completions(node)
        if drawn:
            found[node.node_id] = value_of(_share(drawn), Scheme(), value.reached), up
        elif chosen_by_verdict and node.children and node.parent is not None:
            kind = ValueKind.SURVIVORS if value.kind is ValueKind.SURVIVORS else ValueKind.ADAPTIVE
            found[node.node_id] = Value(kind=kind, reached=value.reached), up
    return Values(replace(scheme, inside=scheme.inside and not chosen_by_verdict), found)


def _share(drawn: Sequence[NodeView]) -> Draws | None:
    """The mean over completions, one independent continuation each; None where none could be checked."""
    known = [verdict.passed for leaf in drawn if (verdict := leaf.verdict) is not None and is_known(verdict)]
    return Draws(sum(known) / len(known), 1.0, float(len(known))) if known else None
