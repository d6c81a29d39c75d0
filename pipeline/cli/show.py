"""Runs `berry show`: draws one problem's tree in the terminal, or one trajectory step by step."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def show(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help="A problem's id (`berry inspect` lists some).")],
    trajectory: Annotated[
        str | None,
        typer.Option(help="Show this kept trajectory's steps with their labels instead of the tree."),
    ] = None,
    width: Annotated[int, typer.Option(help="Characters of text a node.", min=10)] = 90,
    round_index: Annotated[int, typer.Option("--round", help="Which round.", min=0)] = 0,
) -> None:
    """Draw a problem's tree, coloured by value: green where every checked leaf below passes, red where none does.

    Examples:

      berry show runs/demo add-two

      berry show runs/demo add-two --trajectory 'add-two/3f2a…'
    """
    import difflib

    from rich.console import Console

    from berry.pipeline.errors import InputError
    from berry.pipeline.storage.run.directory import open_run
    from berry.pipeline.storage.run.duckdb_views import connect

    db = connect(open_run(run_dir))
    console = Console()
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
        _print_steps(console, kept[0])
        return
    completions = _rows(db, "select * from completions where problem_id = ? and round = ?", [problem, round_index])
    nodes = _rows(
        db,
        "select * from nodes where problem_id = ? and round = ? order by node",
        [problem, round_index],
    )
    _print_tree(console, problem, nodes, trajectories, completions, width)


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

    by_leaf = {row["leaf"]: row for row in [*leaves, *completions]}
    passed = sum(row["verdict"] == "pass" for row in leaves)
    top = Tree(f"[bold]{escape(problem)}[/]  {passed}/{len(leaves)} passed")
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
        leaf = by_leaf.get(node["node"])
        if leaf is not None:
            fate = "kept" if leaf["kept"] else leaf["drop_reason"]
            label += (
                f"  [dim]→ {escape(str(leaf['answer']))[:40]} {leaf['verdict'] or ''} {fate} {leaf['trajectory_id']}[/]"
            )
        branches[node["node"]] = branches[node["parent"]].add(label)
    for leaf in leaves:
        if leaf["leaf"] not in branches:
            top.add(f"[dim]no tree: {leaf['drop_reason']} {escape(leaf['evidence'] or '')}[/]")
    console.print(top)


def _print_steps(console: Any, row: dict[str, Any]) -> None:
    from rich.markup import escape

    for message in row["messages"]:
        console.print(f"[bold]{message['role']}[/] {escape(message['content'])}")
    labels = zip(row["steps"], row["step_values"], row["prm_scores"], strict=True)
    for number, (step, soft, prm) in enumerate(labels, start=1):
        value = "?" if soft is None else f"{soft:.2f}"
        score = "" if prm is None else f" prm {prm:.2f}"
        console.print(f"[{_colour(soft)}]{number:>3} {value}{score}[/] {escape(step.strip())}")
    console.print(f"[dim]{row['trajectory_id']}  verdict {row['verdict']}, answer {row['answer']}[/]")
