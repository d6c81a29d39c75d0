"""Runs `berry`: one file a command, and the one boundary where expected errors become messages and exit codes.

berry ─► main ─► app ─► run | inspect | show | …        (heavy imports happen inside the commands)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import cleandoc
from typing import Annotated

import typer

import berry
from berry.pipeline.cli import import_problems, sandbox, weights
from berry.pipeline.cli.annotate import annotate
from berry.pipeline.cli.check import check
from berry.pipeline.cli.compact import compact
from berry.pipeline.cli.dedup import dedup
from berry.pipeline.cli.eval import eval_
from berry.pipeline.cli.export import export
from berry.pipeline.cli.inspect import inspect
from berry.pipeline.cli.plan import plan
from berry.pipeline.cli.report import report
from berry.pipeline.cli.revise import reprune, reverify
from berry.pipeline.cli.run import run
from berry.pipeline.cli.show import show
from berry.pipeline.cli.status import status
from berry.pipeline.cli.submit import submit
from berry.pipeline.cli.sweep import sweep
from berry.pipeline.cli.tail import tail
from berry.pipeline.cli.train import train
from berry.pipeline.cli.variants import variants
from berry.pipeline.cli.verify import verify
from berry.pipeline.cli.view import view
from berry.pipeline.errors import BerryError, is_exhausted
from berry.sandboxes.base import SandboxError
from berry.verifiers.base import ExtensionError

app = typer.Typer(
    name="berry",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Make data": (run, variants, verify, annotate, reprune, reverify, dedup),
    "Look at it": (inspect, show, report, view, status, check, compact),
    "Use it": (export, tail, train, eval_),
    "Plan": (plan, sweep),
    "Clusters and hosts": (submit,),
}
"""Commands by the heading they stand under in `berry --help`."""
GROUPS = {"import": (import_problems.app, "Make data"), "weights": (weights.app, "Use it")}
GROUPS["sandbox"] = (sandbox.app, "Clusters and hosts")


def help_text(docstring: str | None) -> str:
    """A docstring as help: each paragraph in one line, so that it is wrapped to the terminal; examples, which are
    indented, as they stand."""
    paragraphs = cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else " ".join(p.split()) for p in paragraphs)


for panel, commands in PANELS.items():
    for command in commands:
        name = command.__name__.rstrip("_")  # `eval_` is a command, and no other word of Python's
        app.command(name, rich_help_panel=panel, help=help_text(command.__doc__))(command)
for group, (group_app, panel) in GROUPS.items():
    app.add_typer(group_app, name=group, rich_help_panel=panel)


def _print_version(value: bool) -> None:
    if value:
        print(f"berry {berry.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Grow trees of reasoning with vLLM on Ray, check the leaves in sandboxes, keep the good ones as Parquet.

    A first run, what it holds, one of its trees, and training data from it:

      berry run configs/demo.yaml

      berry inspect runs/demo

      berry show runs/demo PROBLEM

      berry export runs/demo --format sft -o data/sft

    CONFIG is a YAML file; [KEY=VALUE]… change single keys of it (docs/configuration.md lists them all).
    """


def main() -> None:
    """Run the command line. Expected failures print one message and exit with their code; bugs keep their
    traceback."""
    try:
        app(prog_name="berry")
    except BerryError as error:
        print(f"berry: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (SandboxError, ExtensionError) as error:
        print(f"berry: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("berry: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except (OSError, MemoryError, RuntimeError) as error:
        if not is_exhausted(error):
            raise
        print(
            f"berry: this process ran out of memory, threads or open files ({error}); give it more (ulimit -a says "
            "what it may have), and run the same command again",
            file=sys.stderr,
        )
        sys.exit(2)
