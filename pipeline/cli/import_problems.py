"""berry import …: public data sets and plain files as PROBLEMS."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berry.pipeline.stages.problems.importing import Importer

app = typer.Typer(
    help="Make a problems file from a data set's own file, or from any JSONL or Parquet.", no_args_is_help=True
)
File = Annotated[str, typer.Argument(metavar="FILE", help="The data set's file: .jsonl, .jsonl.gz, .json or .parquet.")]
Out = Annotated[str, typer.Option("--out", "-o", metavar="PROBLEMS.jsonl", help="Where the problems go.")]
References = Annotated[
    str | None,
    typer.Option(metavar="RESPONSES.jsonl", help="Also write the data set's own solutions, for `berry verify`."),
]
Limit = Annotated[int | None, typer.Option(help="Take only the first rows.", min=1)]


def _command(name: str, text: str) -> None:
    def command(file: File, out: Out, references: References = None, limit: Limit = None) -> None:
        from berry.pipeline.stages.problems.importing import IMPORTERS

        _convert(file, out, IMPORTERS[name], references, limit)

    command.__doc__ = text
    app.command(name)(command)


_command("gsm8k", "GSM8K (openai/grade-school-math): the answer after ####, as mathematics.")
_command("math", "MATH, AIME and their kin: problem, and answer or a solution that boxes it.")
_command("humaneval", "HumanEval (openai/human-eval): check(candidate).")
_command("mbpp", "MBPP: asserts.")
_command("code_contests", "CodeContests: programs with standard input and output.")
_command("multipl_e", "MultiPL-E, C++ and JavaScript: tests in the program.")


@app.command("jsonl")
def jsonl(
    file: File,
    out: Out,
    map_: Annotated[
        str, typer.Option("--map", metavar="FIELD=COLUMN,…", help="For example prompt=question,answer=final.")
    ] = "",
    verifier: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='A tagged object; "{column}" is filled from the row.'),
    ] = None,
    references: References = None,
    limit: Limit = None,
) -> None:
    """Any JSONL or Parquet, with a field map.

    Examples:

      berry import jsonl my.jsonl -o problems.jsonl --map prompt=question,answer=final_answer

      berry import jsonl my.parquet -o p.jsonl --map prompt=task --verifier '{"type": "model", "rubric": "{rubric}"}'
    """
    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.problems.importing import mapped

    fields: dict[str, str] = {}
    for pair in filter(None, map_.split(",")):
        name, equals, column = pair.partition("=")
        if not equals or name not in ("id", "prompt", "answer", "verifier", "reference"):
            raise InputError(f"--map: {pair!r} must be FIELD=COLUMN with id, prompt, answer, verifier or reference")
        fields[name] = column
    template: Any = None
    if verifier is not None:
        try:
            template = json.loads(verifier)
        except ValueError as error:
            raise InputError(f"--verifier is not JSON: {error}") from error
    _convert(file, out, mapped(fields, template), references, limit)


@app.command("reasoning_gym")
def reasoning_gym(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A data set of reasoning-gym, e.g. countdown.")],
    out: Out,
    count: Annotated[int, typer.Option(help="Problems to draw.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="For the draw.")] = 0,
    params: Annotated[str, typer.Option(metavar="JSON", help="The data set's own parameters.")] = "{}",
) -> None:
    """Draw tasks from reasoning-gym, each with its own scorer."""
    from berry.pipeline.config.problems import ReasoningGymProblems
    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.problems.reasoning_gym import reasoning_gym_problems

    try:
        chosen = json.loads(params)
    except ValueError as error:
        raise InputError(f"--params is not JSON: {error}") from error
    source = ReasoningGymProblems(dataset=dataset, count=count, seed=seed, params=chosen)
    written = _write(
        out, (problem.model_dump_json(exclude_defaults=False) for problem in reasoning_gym_problems(source))
    )
    typer.echo(f"{written:,} problems in {out}")


def _convert(file: str, out: str, importer: Importer, references: str | None, limit: int | None) -> None:
    from itertools import islice

    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.problems.importing import Imported, convert

    problems: list[str] = []
    answers: list[str] = []
    left_out: Counter[str] = Counter()
    first: dict[str, str] = {}
    for where, imported in islice(convert(file, importer), limit):
        if isinstance(imported, Imported):
            problems.append(imported.problem.model_dump_json())
            if imported.reference is not None:
                row = {"problem_id": imported.problem.id, "response": imported.reference}
                answers.append(json.dumps(row, ensure_ascii=False))
        else:
            left_out[imported] += 1
            first.setdefault(imported, where)
    if not problems:
        reasons = "; ".join(f"{first[reason]}: {reason}" for reason in list(left_out)[:3])
        raise InputError(f"{file}: no row could be made a problem{': ' + reasons if reasons else ''}")
    _write(out, problems)
    typer.echo(f"{len(problems):,} problems in {out}")
    if references is not None:
        typer.echo(f"{_write(references, answers):,} reference solutions in {references}")
    for reason, count in left_out.most_common():
        typer.echo(f"left out {count:,}: {reason} (first: {first[reason]})", err=True)


def _write(path: str, lines: Iterable[str]) -> int:
    from berry.pipeline.storage.files import locate

    folder, _, name = path.rpartition("/")
    held = list(lines)
    locate(folder or ("/" if path.startswith("/") else ".")).put(name, "".join(f"{line}\n" for line in held).encode())
    return len(held)
