"""Runs `berry report`: one HTML page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from berry.pipeline.report.browser.tree_json import TokenEnds
    from berry.pipeline.storage.run.directory import RunDir


def report(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where it goes; default: report.html in the run.")
    ] = None,
) -> None:
    """Write one self-contained HTML page of a run: counts, reasons, speed, label quality, sampled trees.

    Needs no network and no server. A run in progress, or of an earlier version, has one too. Every finished run writes
    it (`report: false` in the configuration turns that off).

    Examples:

      berry report runs/demo

      berry report s3://bucket/runs/big --out big.html
    """
    from berry.pipeline.cli.progress import working
    from berry.pipeline.errors import StorageError
    from berry.pipeline.report.page.page import make_report, write_report
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(run_dir)
    if out is None:
        with working("reading the run and drawing samples of it"):
            place = write_report(run, token_ends=token_ends_of(run))
        typer.echo(place)
        return
    with working("reading the run and drawing samples of it"):
        made = make_report(run, token_ends=token_ends_of(run))
    try:
        out.write_bytes(made)
    except OSError as error:
        raise StorageError(f"{out}: can't be written ({error.strerror}); choose another --out") from error
    typer.echo(str(out))


def token_ends_of(run: RunDir) -> TokenEnds | None:
    """Where each token's text ends, by the tokenizer of the run's model; None where that is not at hand here, or the
    run has several models."""
    from berry.pipeline.config.sections.engine import VllmEngine
    from berry.pipeline.engines import models
    from berry.pipeline.engines.text.tokens import Tokens
    from berry.pipeline.errors import BerryError
    from berry.pipeline.stages.dataset.reading import stored_config

    try:
        config = stored_config(run)
        engine = config.engine
        if not isinstance(engine, VllmEngine) or len(config.engines) > 1:
            return None
        folder = models.resolve(engine.model)
        return Tokens(folder).ends if Path(folder).is_dir() else None
    except (BerryError, OSError, ValueError):
        return None
