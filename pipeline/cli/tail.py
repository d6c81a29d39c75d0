"""Runs `berry tail`: prints a run's kept trajectories as they are committed."""

from __future__ import annotations

from typing import Annotated

import typer


def tail(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    follow: Annotated[bool, typer.Option(help="Wait for more until the run has ended.")] = True,
    cursor: Annotated[
        str | None, typer.Option(metavar="FILE", help="Go on from here, and keep here what was printed.")
    ] = None,
    max_age: Annotated[
        int | None, typer.Option(min=0, help="Leave out rounds that are so many behind the weights that serve now.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Comma-separated columns of each row; all of them if not given.")
    ] = None,
) -> None:
    """Print a run's kept trajectories as JSON lines, each once, as they are committed.

    Examples:

      berry tail runs/demo --columns problem_id,response,answer

      berry tail s3://bucket/runs/large --cursor seen.json | my-trainer

      berry tail runs/demo --no-follow > kept.jsonl
    """
    import json
    import sys
    from pathlib import Path

    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.dataset.stream import KeptStream
    from berry.pipeline.storage.run.directory import open_run

    place = None if cursor is None else Path(cursor)
    before = place.read_text() if place is not None and place.exists() else None
    run = open_run(run_dir)
    try:
        stream = KeptStream(run, cursor=before, follow=follow, max_age=max_age)
    except InputError as error:
        raise InputError(f"--cursor {cursor}: {error}; without the file the stream begins anew") from error
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    for row in stream:
        unknown = [] if names is None else [name for name in names if name not in row]
        if unknown:
            raise InputError(f"--columns: kept rows have no {', '.join(unknown)}; they have {', '.join(row)}")
        print(json.dumps(row if names is None else {name: row[name] for name in names}))
        sys.stdout.flush()
        if place is not None:
            aside = place.with_name(f"{place.name}.writing")
            aside.write_text(stream.cursor)
            aside.replace(place)
