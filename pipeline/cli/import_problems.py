"""Runs `berry import`: makes problem files from public data sets and plain files."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from berry.pipeline.stages.problems.datasets.base import Importer
    from berry.verifiers.base import Verdict
    from berry.verifiers.checker import CheckRequest

AT_ONCE = 64  # reference solutions under way
SHOWN = 5  # of those that do not pass

app = typer.Typer(
    help="Make a problems file from a data set's own file, or from any JSONL or Parquet.", no_args_is_help=True
)
File = Annotated[str, typer.Argument(metavar="FILE", help="The data set's file: .jsonl, .jsonl.gz, .json or .parquet.")]
Out = Annotated[str, typer.Option("--out", "-o", metavar="PROBLEMS.jsonl", help="Where the problems go.")]
References = Annotated[
    str | None,
    typer.Option(
        metavar="RESPONSES.jsonl", help="Also write the data set's own solutions, and verify them against the problems."
    ),
]
Limit = Annotated[int | None, typer.Option(help="Take only the first rows.", min=1)]


def _command(name: str, text: str) -> None:
    def command(file: File, out: Out, references: References = None, limit: Limit = None) -> None:
        from berry.pipeline.stages.problems.importing import IMPORTERS

        _convert(file, out, IMPORTERS[name](), references, limit)

    command.__doc__ = text
    app.command(name)(command)


DATASETS = {
    "gsm8k": "GSM8K (openai/grade-school-math): the answer after ####, as mathematics.",
    "math": "MATH (hendrycks) and its kin: problem, and answer or a solution that boxes it.",
    "math500": "MATH-500: problem, answer, solution.",
    "aime": "AIME of any year: problem and an integer from 0 to 999.",
    "numina_math": "NuminaMath 1.0 and 1.5, without proofs and rows that lack an answer.",
    "openr1_math": "OpenR1-Math-220k, without proofs.",
    "deepscaler": "DeepScaleR-Preview.",
    "dapo": "DAPO-Math-17k: verl's layout, each problem once.",
    "big_math": "Big-Math-RL-Verified.",
    "open_math_reasoning": "OpenMathReasoning: problems whose answer is the source's, each once.",
    "humaneval": "HumanEval (openai/human-eval): check(candidate).",
    "humaneval_plus": "HumanEval+ (evalplus), the file with check(candidate).",
    "mbpp": "MBPP: asserts.",
    "mbpp_plus": "MBPP+ (evalplus).",
    "apps": "APPS: functions and programs.",
    "taco": "TACO: functions and programs, with limits.",
    "code_contests": "CodeContests: programs, public, private and generated tests, limits.",
    "livecodebench": "LiveCodeBench, code generation: functions and programs.",
    "kodcode": "KodCode-V1: functions with unit tests.",
    "multipl_e": "MultiPL-E, eleven languages: tests in the program.",
    "eurus": "Eurus-2-RL-Data (PRIME): mathematics and code in verl's layout.",
    "synthetic1": "SYNTHETIC-1: its mathematics and its Python code.",
    "synthetic2": "SYNTHETIC-2: its mathematics, Python code and reasoning-gym tasks.",
    "verl": "Any Parquet in verl's layout: data_source, prompt, reward_model.ground_truth.",
    "nemotron": "Nemotron post-training sets: rows with an expected answer.",
    "ifeval": "IFEval: instructions whose keeping can be checked.",
    "minif2f": "MiniF2F for Lean 4.",
}
for _name, _text in DATASETS.items():
    _command(_name, _text)


@app.command("sql")
def sql(
    file: File,
    out: Out,
    databases: Annotated[str, typer.Option(metavar="FOLDER", help="Holds DB/DB.sqlite for each db_id.")],
    references: References = None,
    limit: Limit = None,
) -> None:
    """Import Spider or BIRD: questions on databases; each problem carries the statements that make its own."""
    from berry.pipeline.stages.problems.datasets import instructions

    _convert(file, out, instructions.sql(databases), references, limit)


@app.command("jsonl")
def jsonl(
    file: File,
    out: Out,
    map_: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,…",
            help="For example prompt=question,answer=reward.truth (a dotted path for nested columns).",
        ),
    ] = "",
    verifier: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='A tagged object; "{column}" is filled from the row.'),
    ] = None,
    references: References = None,
    limit: Limit = None,
) -> None:
    """Import any JSONL or Parquet file, with a map of its fields.

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
    from berry.pipeline.config.sections.problems import ReasoningGymProblems
    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.problems.sources import iter_problems

    try:
        chosen = json.loads(params)
    except ValueError as error:
        raise InputError(f"--params is not JSON: {error}") from error
    source = ReasoningGymProblems(dataset=dataset, count=count, seed=seed, params=chosen)
    written = _write(out, (problem.model_dump_json(exclude_defaults=False) for problem in iter_problems([source])))
    typer.echo(f"{written:,} problems in {out}")


def _convert(file: str, out: str, importer: Importer, references: str | None, limit: int | None) -> None:
    from itertools import islice

    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.problems.importing import Imported, convert
    from berry.verifiers.checker import CheckRequest

    problems: list[str] = []
    answers: list[str] = []
    checks: list[CheckRequest] = []
    rows = 0
    left_out: Counter[str] = Counter()
    first: dict[str, str] = {}
    for where, imported in islice(convert(file, importer), limit):
        rows += 1
        if isinstance(imported, Imported):
            problem = imported.problem
            problems.append(problem.model_dump_json())
            if imported.reference is not None and references is not None:
                row = {"problem_id": problem.id, "response": imported.reference}
                answers.append(json.dumps(row, ensure_ascii=False))
                checks.append(CheckRequest(problem.id, problem.verifier, imported.reference, problem.text))
        else:
            left_out[imported] += 1
            first.setdefault(imported, where)
    if not problems:
        reasons = "; ".join(f"{first[reason]}: {reason}" for reason in list(left_out)[:3])
        raise InputError(f"{file}: no row could be made a problem{': ' + reasons if reasons else ''}")
    _write(out, problems)
    typer.echo(f"{rows:,} rows: {len(problems):,} problems in {out}, {sum(left_out.values()):,} left out")
    if references is not None:
        _write(references, answers)
        typer.echo(f"{len(answers):,} reference solutions in {references}")
        _verify_references(checks)
    for reason, count in left_out.most_common():
        typer.echo(f"left out {count:,}: {reason} (first: {first[reason]})", err=True)


def _verify_references(checks: Sequence[CheckRequest]) -> None:
    """Says how many of the data set's own solutions pass, and names the first that don't."""
    import asyncio

    from rich.console import Console
    from rich.progress import track

    from berry.verifiers.checker import Checker
    from berry.verifiers.config import CheckerConfig

    if not checks:
        typer.echo("the data set has no reference solutions to verify")
        return

    async def verdicts() -> list[Verdict]:
        async with Checker(CheckerConfig(weak_verdicts="count")) as checker:  # its own solutions are not hostile
            results = []
            starts = range(0, len(checks), AT_ONCE)
            for start in track(starts, "verifying references", console=Console(stderr=True), transient=True):
                part = checks[start : start + AT_ONCE]
                results += await asyncio.gather(*(checker.check(request) for request in part))
            return results

    results = asyncio.run(verdicts())
    counts = Counter(str(verdict.outcome) for verdict in results)
    passed, failed, unknown = (counts.get(name, 0) for name in ("pass", "fail", "unverifiable"))
    share = f"{passed / (passed + failed):.1%}" if passed + failed else "–"
    typer.echo(
        f"references: {passed:,} pass ({share} of the checked), {failed:,} fail, {unknown:,} could not be checked"
    )
    others = [(c, v) for c, v in zip(checks, results, strict=True) if not v.passed]
    for check, verdict in others[:SHOWN]:
        typer.echo(f"  {check.problem_id}: {verdict.outcome}, {verdict.reason}", err=True)
    if len(others) > SHOWN:
        typer.echo(f"  and {len(others) - SHOWN:,} more: see all with berry verify", err=True)


def _write(path: str, lines: Iterable[str]) -> int:
    from berry.pipeline.storage.files import locate

    folder, _, name = path.rpartition("/")
    held = list(lines)
    locate(folder or ("/" if path.startswith("/") else ".")).put(name, "".join(f"{line}\n" for line in held).encode())
    return len(held)
