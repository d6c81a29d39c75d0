"""The command line: one file a command, and the one boundary where expected errors become messages and exit codes.

berry ─► main ─► app ─► run | inspect | show | …        (heavy imports happen inside the commands)
"""

from __future__ import annotations

import sys

import typer

from berry.pipeline.cli import import_problems, sandbox, weights
from berry.pipeline.cli.check import check
from berry.pipeline.cli.export import export
from berry.pipeline.cli.inspect import inspect
from berry.pipeline.cli.plan import plan
from berry.pipeline.cli.revise import reprune, reverify
from berry.pipeline.cli.run import run
from berry.pipeline.cli.show import show
from berry.pipeline.cli.status import status
from berry.pipeline.cli.submit import submit
from berry.pipeline.cli.sweep import sweep
from berry.pipeline.cli.train import train
from berry.pipeline.cli.variants import variants
from berry.pipeline.cli.verify import verify
from berry.pipeline.errors import BerryError
from berry.sandboxes.base import SandboxError

app = typer.Typer(
    name="berry",
    help="Grow trees of reasoning with vLLM on Ray, check the leaves in sandboxes, keep the good ones as Parquet.\n\n"
    "Start with: berry run configs/tiny.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(run)
app.command()(plan)
app.command()(sweep)
app.command()(inspect)
app.command()(show)
app.command()(reprune)
app.command()(reverify)
app.command()(verify)
app.command()(variants)
app.command()(train)
app.command()(export)
app.command()(check)
app.command()(status)
app.command()(submit)
app.add_typer(import_problems.app, name="import")
app.add_typer(weights.app, name="weights")
app.add_typer(sandbox.app, name="sandbox")


def main() -> None:
    """The entry point of `berry`. Expected failures print one message and exit with their code; bugs keep their
    traceback."""
    try:
        app()
    except BerryError as error:
        print(f"berry: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SandboxError as error:
        print(f"berry: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("berry: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
