"""Runs `berry export`: writes a run's trees as files that trainers read."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import typer


def export(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    wanted: Annotated[
        str,
        typer.Option(
            "--format",
            help="sft, dpo, pairs (siblings of one prefix), orm, prm, rl, tree, or a package's own.",
            metavar="FORMAT",
        ),
    ],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="A new folder for the files.")],
    trainer: Annotated[
        str | None,
        typer.Option("--for", help="Whose layout: trl (default), openrlhf, verl, verifiers; of trees packed or nodes."),
    ] = None,
    kind: Annotated[str, typer.Option("--as", help="parquet or jsonl.")] = "parquet",
    tokens: Annotated[bool, typer.Option("--tokens", help="The sampled token ids instead of text.")] = False,
    source: Annotated[
        str, typer.Option("--from", help="kept (what pruning kept) or trajectories (all that a format can use).")
    ] = "kept",
    inexact: Annotated[
        bool, typer.Option("--inexact", help="Also where the chat template changes more than 0.1% of the tokens.")
    ] = False,
    min_visits: Annotated[int, typer.Option(min=1, help="Verified leaves behind a label.")] = 1,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="One minus the width of a label's or rate's 95% interval.")
    ] = 0.0,
    min_margin: Annotated[float, typer.Option(min=0, max=1, help="Difference of values within a pair.")] = 0.0,
    certain: Annotated[bool, typer.Option("--certain", help="Pairs whose 95% intervals do not overlap.")] = False,
    per_problem: Annotated[int | None, typer.Option(min=1, help="Most rows of one problem.")] = None,
    per_node: Annotated[int, typer.Option(min=1, help="Most pairs of siblings below one node, drawn.")] = 16,
    heldout: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="Share of problems for heldout.* (0: none); default: the run's own split."),
    ] = None,
    split_seed: Annotated[int | None, typer.Option(min=0, help="Another seed holds out other problems.")] = None,
    rounds: Annotated[list[int] | None, typer.Option("--round", help="These rounds only; default: all.")] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="NAME", help="Trees of this mode only (rollout.modes); default: of all.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", help="Kinds of values that are labels: estimate (default), survivors, pooled."),
    ] = None,
    screen: Annotated[
        list[str] | None,
        typer.Option("--screen", metavar="FILE", help="Leave out problems that overlap with this evaluation set."),
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="REPO", help="Also send it to this data set repository of the Hub.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="A new repository is private.")] = False,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Of the rows, for the data card: apache-2.0, mit, …")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier export in the same folder.")] = False,
) -> None:
    """Write training data from a run's stored trees, as files that trainers read.

    The files train, validation and heldout are of different problems, as the run itself splits them.

    Examples:

      berry export runs/demo --format sft -o data/sft

      berry export runs/demo --format sft --tokens -o data/sft-tokens

      berry export runs/demo --format prm --min-visits 4 --for openrlhf -o data/prm

      berry export runs/thinking --format sft --mode plain -o data/plain

      berry export runs/demo --format tree -o data/trees --push OWNER/NAME
    """
    from rich.console import Console

    from berry.pipeline.cli.progress import progress_bar
    from berry.pipeline.errors import InputError
    from berry.pipeline.records import ValueKind
    from berry.pipeline.stages.export.base import Filters
    from berry.pipeline.stages.export.export import ExportRequest
    from berry.pipeline.stages.export.export import export as write
    from berry.pipeline.stages.export.push import check_repository
    from berry.pipeline.stages.export.push import push as send
    from berry.pipeline.stages.export.registry import layout_of
    from berry.pipeline.stages.problems.screening import explain_screening
    from berry.pipeline.storage.run.directory import open_run

    if kind not in ("parquet", "jsonl"):
        raise InputError(f"--as must be parquet or jsonl, got {kind!r}")
    known = [kind.value for kind in ValueKind if kind is not ValueKind.ADAPTIVE]
    for label in labels or ():
        if label not in known:
            raise InputError(f"--labels must be one of {', '.join(known)}, got {label!r}")
    kinds = tuple(map(ValueKind, labels or ["estimate"]))
    if source not in ("kept", "trajectories"):
        raise InputError(f"--from must be kept or trajectories, got {source!r}")
    request = ExportRequest(
        format=wanted,
        trainer=trainer,
        kind=cast(Literal["parquet", "jsonl"], kind),
        filters=Filters(
            min_visits=min_visits,
            min_confidence=min_confidence,
            min_margin=min_margin,
            certain=certain,
            per_problem=per_problem,
            per_node=per_node,
            kinds=kinds,
        ),
        tokens=tokens,
        source=cast(Literal["kept", "trajectories"], source),
        inexact=inexact,
        heldout_share=heldout,
        split_seed=split_seed,
        rounds=tuple(rounds) if rounds else None,
        screen=tuple(screen or ()),
        licence=licence,
        mode=mode,
    )
    layout_of(wanted, trainer, tokens=tokens)
    if push is not None:
        check_repository(push)
    run = open_run(run_dir)
    with progress_bar() as bar:
        task = bar.add_task(f"exporting {wanted}", total=None)
        done = write(
            run,
            request,
            output,
            replace=replace,
            progress=lambda at, total: bar.update(task, completed=at, total=total),
        )
    console = Console()
    if done.synthetic:
        console.print("SYNTHETIC engine: no model stands behind these texts", style="yellow")
    for split, path in sorted(done.files.items(), reverse=True):
        console.print(
            f"{path}: {done.rows[split]:,} rows of {done.problems[split]:,} problems", soft_wrap=True, highlight=False
        )
    own = run.versions().get("screening") or {}
    if done.screening["files"] or not own.get("files"):
        told = explain_screening(done.screening, remedy="--screen FILE, or screening.files of the run")
        console.print(f"screened: {told}", soft_wrap=True, highlight=False)
    if own.get("files"):
        console.print(f"screened by the run: {explain_screening(own)}", soft_wrap=True, highlight=False)
    if done.exactness is None:
        console.print(f"exact: {done.exactness_note}", style="dim", highlight=False)
    else:
        share = done.exactness.exact_share or 0.0
        told = f"exact: {share:.1%} of {done.exactness.responses} responses come back from the chat template as sampled"
        console.print(
            told if share == 1 else f"{told}; {done.exactness.explain()}; {done.exactness.remedy()}", highlight=False
        )
    if len(done.files) == 1 and heldout != 0:
        only = next(iter(done.files))
        console.print(f"every problem fell into {only}: too few to split", style="yellow")
    if push is not None:
        address = send(output, push, private=private, message=f"Add {wanted} rows of a Berry run")
        console.print(f"pushed: {address}", soft_wrap=True, highlight=False)
