"""Draws one stored tree as a picture: a bar a node, as long as its tokens, from left to right, with what it says.

    tree_json ─► places (start in tokens, row) ─► bars by value, results of tools apart, leaves by outcome ─► Figure

The picture is laid out as the browser's (browser/browser.js), and has its colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from berry.pipeline.report.pictures.plots import STYLE

GIVEN = "#CC79A7"
UNKNOWN = "#C8C8C8"
LOW, MIDDLE, HIGH = (213, 94, 0), (225, 220, 200), (0, 114, 178)
SIGNS = {"pass": "✓", "wrong": "✗"}  # what is neither is not known
ROW_INCHES, WIDE_INCHES, LABEL_INCHES = 0.26, 9.5, 1.6
CHARACTERS_AN_INCH = 15.5  # of the text in a bar
MOST_ROWS = 200

JsonNode = Mapping[str, Any]


def draw_tree(tree: Mapping[str, Any]) -> Figure:
    """Draws what `tree_json` has written. A tree of more than MOST_ROWS leaves shows its first ones."""
    nodes: list[JsonNode] = tree["nodes"]
    starts, rows, n_rows = places(nodes)
    longest = max((starts[n["id"]] + n["tokens"] for n in nodes if n["id"] in rows), default=1) or 1
    a_token = WIDE_INCHES / longest  # inches
    with matplotlib.rc_context(STYLE):
        height = n_rows * ROW_INCHES + 1.0
        figure = Figure(figsize=(WIDE_INCHES + LABEL_INCHES, height))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.02, 0.3 / height, 0.96, 1 - 0.75 / height))
        axes.set_axis_off()
        axes.set_xlim(-0.1, WIDE_INCHES + LABEL_INCHES)
        axes.set_ylim(n_rows, -0.6)
        for node in nodes:
            if node["id"] not in rows:
                continue
            row, left, wide = rows[node["id"]], starts[node["id"]] * a_token, max(0.06, node["tokens"] * a_token)
            if node["parent"] is not None:
                axes.plot([left, left], [rows[node["parent"]], row], color="#888888", lw=0.8, zorder=1)
            else:
                left, wide = -0.06, 0.06
            colour = GIVEN if node["given"] else _colour(node["value"])
            edge = "#333333" if node["given"] else "white"
            box = Rectangle((left, row - 0.36), wide, 0.72, facecolor=colour, edgecolor=edge, lw=0.7, zorder=2)
            axes.add_patch(box)
            if node["parent"] is not None:
                said = _fitting(_call_mark(node) + node["text"], wide, end=node["calls"])
                axes.text(left + 0.03, row, said, va="center", fontsize=6.5, color=_ink(node), zorder=3, clip_on=True)
            mark = _mark(node)
            if mark:
                axes.text(left + wide + 0.05, row, mark, va="center", fontsize=8)
        title = _shortened(" ".join(f"{tree['problem']}: {tree['prompt']}".split()), 130)
        figure.text(0.02, 1 - 0.22 / height, title, fontsize=10)
        axes.legend(handles=_legend(nodes), loc="upper left", bbox_to_anchor=(0, 0), ncols=5, frameon=False, fontsize=8)
    return figure


def places(nodes: Sequence[JsonNode]) -> tuple[dict[str, int], dict[str, float], int]:
    """Where each node begins, in tokens; on which row it lies, in the middle of its children; how many rows there are.
    `nodes`: parents first. Those below the last row that is drawn have none."""
    starts: dict[str, int] = {}
    children: dict[str, list[str]] = {}
    tokens = {node["id"]: 0 if node["parent"] is None else node["tokens"] for node in nodes}
    for node in nodes:
        parent = node["parent"]
        starts[node["id"]] = 0 if parent is None else starts[parent] + tokens[parent]
        if parent is not None:
            children.setdefault(parent, []).append(node["id"])
    rows: dict[str, float] = {}
    n_rows = 0
    for node in nodes:  # depth first, so that leaves come from top to bottom
        if node["id"] not in children and n_rows < MOST_ROWS:
            rows[node["id"]] = n_rows
            n_rows += 1
    for node in reversed(nodes):
        below = [rows[child] for child in children.get(node["id"], ()) if child in rows]
        if below:
            rows[node["id"]] = (below[0] + below[-1]) / 2
    return starts, rows, n_rows


def _colour(value: float | None) -> str:
    """Orange over grey to blue for values from 0 to 1. Estimates over spared branches, which weigh more, may lie
    outside: they have the colour of the end."""
    if value is None:
        return UNKNOWN
    value = min(1.0, max(0.0, value))
    low, high, share = (LOW, MIDDLE, 2 * value) if value < 0.5 else (MIDDLE, HIGH, 2 * value - 1)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(low, high, strict=True))


def _ink(node: JsonNode) -> str:
    dark = not node["given"] and node["value"] is not None and (node["value"] < 0.2 or node["value"] > 0.8)
    return "white" if dark else "black"


def _mark(node: JsonNode) -> str:
    """How the answer came out that ends with a node; empty where none does."""
    leaf = node["leaf"]
    if leaf is None:
        return ""
    answer = leaf["answer"] if leaf["answer"] is not None else leaf["drop"] or ""
    return f"{SIGNS.get(leaf['outcome'], '?')}{'★' if leaf['kept'] else ''} {_shortened(answer, 18)}"


def _call_mark(node: JsonNode) -> str:
    """What is to be said of a call that did not go well, or stands behind ones that said something else."""
    given = node["given"]
    if given is None:
        return ""
    return ("≠ " if given["nondeterministic"] else "") + ("" if given["outcome"] == "ok" else "! ")


def _fitting(text: str, wide_inches: float, *, end: bool) -> str:
    """As much of a text as a bar has room for, on one line: its beginning, or its end."""
    room, text = int((wide_inches - 0.05) * CHARACTERS_AN_INCH), " ".join(text.split())
    if room < 2:
        return ""
    return _shortened(text, room) if not end or len(text) <= room else _plain("…" + text[1 - room :])


def _shortened(text: str, most: int) -> str:
    return _plain(text if len(text) <= most else text[: most - 1] + "…")


def _plain(text: str) -> str:
    """Without the sign that would begin mathematics."""
    return text.replace("$", r"\$")


def _legend(nodes: Sequence[JsonNode]) -> list[Patch]:
    shown = [(_colour(value), f"value {value:g}") for value in (0.0, 0.5, 1.0)]
    if any(node["given"] for node in nodes):
        shown.append((GIVEN, "a tool's result, given"))
    shown.append((UNKNOWN, "no value"))
    return [Patch(facecolor=colour, label=label) for colour, label in shown]
