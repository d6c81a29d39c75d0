"""Runs `berry show`: draws one problem's tree in the terminal or as a picture, or one trajectory step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from berry.pipeline.storage.run.directory import RunDir


def show(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help="A problem's id (`berry inspect` lists some).")],
    trajectory: Annotated[
        str | None,
        typer.Option(help="Show this kept trajectory's steps with their labels instead of the tree."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tree as a picture instead: a .png or .svg file.")
    ] = None,
    width: Annotated[int, typer.Option(help="Characters of text a node.", min=10)] = 90,
    round_index: Annotated[int, typer.Option("--round", help="Which round.", min=0)] = 0,
) -> None:
    """Draw a problem's tree, coloured by value: green where every checked leaf below passes, red where none does.

    What a tool said stands behind its call, with how the call went and its milliseconds.

    Examples:

      berry show runs/demo add-two

      berry show runs/demo add-two --trajectory 'add-two/3f2a…'

      berry show runs/tools arithmetic-21-15 --picture tree.png
    """
    import difflib

    from rich.console import Console

    from berry.pipeline.cli.progress import working
    from berry.pipeline.errors import InputError
    from berry.pipeline.storage.run.directory import open_run
    from berry.pipeline.storage.run.duckdb_views import connect

    if picture is not None and picture.suffix not in (".png", ".svg"):
        raise InputError(f"--picture {picture}: name a .png or .svg file")
    run = open_run(run_dir)
    db = connect(run)
    console = Console()
    with working("looking for the problem"):
        trajectories = _rows(
            db,
            "select * from trajectories where problem_id = ? and round = ? order by trajectory_id",
            [problem, round_index],
        )
    if not trajectories:
        ids = [r["problem_id"] for r in _rows(db, "select distinct problem_id from trajectories", [])]
        near = difflib.get_close_matches(problem, ids, n=3, cutoff=0.3) or sorted(ids)[:3]
        raise InputError(f"{run_dir} has no problem {problem!r} in round {round_index}; near it: {', '.join(near)}")
    if trajectory is not None:
        kept = _rows(db, "select * from kept where trajectory_id like ? || '%'", [trajectory.rstrip("…")])
        if not kept:
            raise InputError(f"{run_dir} has no kept trajectory {trajectory!r}; the tree lists their ids")
        _print_steps(console, kept[0], _given(db, kept[0], trajectories))
        return
    if picture is not None:
        with working("reading the tree"):
            _write_picture(run, problem, round_index, picture)
        console.print(f"picture: {picture}", highlight=False, soft_wrap=True)
        return
    place = [problem, round_index]
    with working("reading the tree"):
        completions = _rows(db, "select * from completions where problem_id = ? and round = ?", place)
        nodes = _rows(db, "select * from nodes where problem_id = ? and round = ? order by node", place)
    _print_tree(console, problem, nodes, trajectories, completions, width)


def _write_picture(run: RunDir, problem: str, round_index: int, place: Path) -> None:
    from berry.pipeline.report.browser.tree_json import tree_json
    from berry.pipeline.report.pictures.tree_picture import draw_tree
    from berry.pipeline.stages.dataset.reading import read_trees

    stored = next(tree for tree in read_trees(run, rounds=[round_index]) if tree.problem_id == problem)
    place.parent.mkdir(parents=True, exist_ok=True)
    draw_tree(tree_json(stored)).savefig(place, dpi=110)


def _rows(db: Any, query: str, parameters: list[Any]) -> list[dict[str, Any]]:
    result = db.execute(query, parameters)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _colour(value: float | None) -> str:
    if value is None:
        return "bright_black"
    return "red" if value == 0 else "green" if value == 1 else "yellow"


def _print_tree(
    console: Any,
    problem: str,
    nodes: list[dict[str, Any]],
    leaves: list[dict[str, Any]],
    completions: list[dict[str, Any]],
    width: int,
) -> None:
    from rich.markup import escape
    from rich.tree import Tree

    from berry.pipeline.records import ASSISTANT

    by_leaf = {row["leaf"]: row for row in [*leaves, *completions]}
    passed = sum(row["verdict"] == "pass" for row in leaves)
    mode = next((row["mode"] for row in leaves if row["mode"]), None)
    told = f"  mode {escape(mode)}" if mode else ""
    given = next((node["template_args"] for node in nodes if node["parent"] is None), None)
    told += f"  [dim]{escape(given)}[/]" if given else ""
    top = Tree(f"[bold]{escape(problem)}[/]  {passed}/{len(leaves)} passed{told}")
    branches: dict[int | None, Any] = {}
    for node in nodes:
        if node["parent"] is None:
            branches[node["node"]] = top
            continue
        text = " ".join((node["text"] or "").split())
        text = text if len(text) <= width else text[: width - 1] + "…"
        share = node["value"]
        value = "  ?  " if share is None else f"{share:.2f}"
        label = f"[{_colour(share)}]{value}[/] {escape(text)}"
        if node["role"] not in (None, ASSISTANT):  # none before schema version 7
            label = f"[magenta]  {_call(node)}[/] [dim]{escape(text)}[/]"
        leaf = by_leaf.get(node["node"])
        if leaf is not None:
            fate = "kept" if leaf["kept"] else leaf["drop_reason"]
            answer = "" if leaf["answer"] is None else f"{escape(leaf['answer'][:40])} "
            label += f"  [dim]→ {answer}{leaf['verdict'] or ''} {fate} {leaf['trajectory_id']}[/]"
        branches[node["node"]] = branches[node["parent"]].add(label)
    for leaf in leaves:
        if leaf["leaf"] not in branches:
            top.add(f"[dim]no tree: {leaf['drop_reason']} {escape(leaf['evidence'] or '')}[/]")
    console.print(top)


def _call(node: dict[str, Any]) -> str:
    """Who answered a call, how it went where not well, and how long it took."""
    outcome = "" if node["call_outcome"] in (None, "ok") else f" {node['call_outcome'].replace('_', ' ')}"
    took = "" if node["call_ms"] is None else f" {node['call_ms']:.1f} ms"
    again = ", nondeterministic" if node["nondeterministic"] else ""
    return f"{node['role']}{outcome}{took}{again}:"


def _given(db: Any, row: dict[str, Any], trajectories: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Where in a kept response there is something that was given: its first character, and the one behind its last."""
    from berry.pipeline.records import ASSISTANT

    place = [row["problem_id"], row["round"]]
    columns = "node, parent, role, text"
    nodes = {n["node"]: n for n in _rows(db, f"select {columns} from nodes where problem_id = ? and round = ?", place)}
    at = next((t["leaf"] for t in trajectories if t["trajectory_id"] == row["trajectory_id"]), None)
    path: list[dict[str, Any]] = []
    while at is not None and nodes[at]["parent"] is not None:
        path.insert(0, nodes[at])
        at = nodes[at]["parent"]
    spans: list[tuple[int, int]] = []
    length = 0
    for node in path:
        begins, length = length, length + len(node["text"])
        if node["role"] not in (None, ASSISTANT):  # none before schema version 7
            spans.append((begins, length))
    return spans


def _print_steps(console: Any, row: dict[str, Any], given: list[tuple[int, int]]) -> None:
    """Prints the steps with their values; what was given is in a colour of its own, and has no value."""
    from rich.markup import escape
    from rich.text import Text

    for message in row["messages"]:
        console.print(f"[bold]{message['role']}[/] {escape(message['content'])}")
    labels = zip(row["steps"], row["step_values"], row["prm_scores"], strict=True)
    end = 0
    for number, (step, soft, prm) in enumerate(labels, start=1):
        begin, end = end, end + len(step)
        said = Text(step)
        for first, behind in given:
            said.stylize("magenta", max(0, first - begin), max(0, behind - begin))
        value = "?" if soft is None else f"{soft:.2f}"
        score = "" if prm is None else f" prm {prm:.2f}"
        told = f"[{_colour(soft)}]{number:>3} {value}{score}[/] "
        if any(first < begin + len(step.rstrip()) <= behind for first, behind in given):
            told = f"[magenta]{number:>3} given[/] "
        lead = len(step) - len(step.lstrip())
        console.print(Text.from_markup(told) + said[lead : len(step.rstrip())])
    mode = f"  mode {row['mode']}" if row["mode"] else ""
    console.print(f"[dim]{row['trajectory_id']}  verdict {row['verdict']}, answer {row['answer']}{mode}[/]")
