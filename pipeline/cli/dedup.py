"""Runs `berry dedup`: drops near-duplicates across the problems of a run."""

from __future__ import annotations

from typing import Annotated

import typer


def dedup(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The revision: RUN/revisions/NAME.")] = "deduped",
    threshold: Annotated[
        float, typer.Option(min=0.05, max=1.0, help="Jaccard similarity from which responses are duplicates.")
    ] = 0.8,
    words: Annotated[int, typer.Option(min=1, help="Words of each run of words that is compared.")] = 3,
    min_words: Annotated[int, typer.Option(min=1, help="Shorter responses are left alone.")] = 32,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="What DuckDB may take before it uses the disk.")] = "2GB",
    scratch: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder for temporary files; default: TMPDIR.")
    ] = None,
) -> None:
    """Drop kept responses that are almost like an earlier one, of any problem: makes a new kept set beside the old one.

    Candidates are found by MinHash and compared exactly, in bounded memory however large the run is; temporary files
    take about 300 bytes a kept response. RUN/revisions/NAME/near_duplicates.parquet names each beside what it is like.
    Equal responses across problems go with the pruning rule exact_duplicate too, in berry reprune.

    Examples:

      berry dedup runs/demo

      berry dedup runs/demo --threshold 0.7 --as strict && berry inspect runs/demo/revisions/strict
    """
    import re
    from pathlib import Path

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from berry.pipeline.cli.progress import progress_bar
    from berry.pipeline.cli.summary import counts_table, title
    from berry.pipeline.errors import InputError
    from berry.pipeline.report.summary import summarise
    from berry.pipeline.stages.dataset.maintenance.dedup import FOUND
    from berry.pipeline.stages.dataset.maintenance.dedup import dedup as drop
    from berry.pipeline.stages.dataset.maintenance.near_duplicates import Likeness
    from berry.pipeline.stages.dataset.reading import stored_config
    from berry.pipeline.storage.parquet import shard_files
    from berry.pipeline.storage.run.directory import locked, open_run, prepare

    if re.fullmatch(r"\d+(\.\d+)? ?[KMGT]i?B", memory) is None:
        raise InputError(f"--memory {memory}: is no size; write 2GB or 500MB")
    if scratch is not None and not Path(scratch).is_dir():
        raise InputError(f"--scratch {scratch}: there is no such folder; make it, or name another")
    source = open_run(run_dir)
    location = f"{run_dir.rstrip('/')}/revisions/{name}"
    target, _ = prepare(location, stored_config(source), source.versions())
    wanted = {"threshold": threshold, "words": words, "min_words": min_words}
    old = target.metrics("dedup") or wanted
    if old != wanted:
        made = ", ".join(f"--{key.replace('_', '-')} {value}" for key, value in old.items())
        raise InputError(f"{location}: was made with {made}; make another with --as NAME")
    target.write_metrics("dedup", wanted)
    columns = (TextColumn("leases"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with locked(target), progress_bar(*columns) as bar:
        for round_index in source.rounds():
            shard_files.remove_uncommitted(target.location, round_index)
        task = bar.add_task("leases", total=sum(len(source.committed(r)) for r in source.rounds()))
        likeness = Likeness(threshold, words, min_words)
        dropped = drop(
            source, target, likeness, memory=memory, scratch=scratch, progress=lambda n: bar.advance(task, n)
        )
    console = Console(soft_wrap=True, highlight=False)
    console.print(counts_table(summarise(target), title=title(target.config() or {}, location)))
    console.print(f"{dropped:,} kept responses are almost like an earlier one: {location}/{FOUND}")
