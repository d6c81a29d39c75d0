"""Whether Berry's verdicts on benchmark answers agree with other harnesses' own scoring functions, on the same outputs.

    python -P tests/benchmarks/scoring_agreement.py outputs --gsm8k-solutions example_model_solutions.jsonl -o O.jsonl
    python -P tests/benchmarks/scoring_agreement.py theirs O.jsonl -o T.jsonl --search-and-learn FOLDER/src
    PYTHONPATH=. python -P tests/benchmarks/scoring_agreement.py compare O.jsonl T.jsonl

`outputs` takes what openai/grade-school-math has of models' solutions to GSM8K's test problems, or a problem file with
responses (`--problems`, `--responses`). `theirs` runs in an environment of its own, with lm_eval (its GSM8K task: the
two regular expressions and exact match of its YAML), and the source of huggingface/search-and-learn (extract_answer
and equality of canonical forms, as its pass@k counts). `compare` gives Berry's verdicts, strict and lenient, counts,
and every output on which they differ. Neither harness is part of Berry, nor is its code in this file.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

AT_ONCE = 256  # checks
GSM8K_STRICT = r"#### (\-?[0-9\.\,]+)"
GSM8K_FLEXIBLE = r"(-?[$0-9.,]{2,})|(-?[0-9]+)"
GSM8K_IGNORED = [",", r"\$", r"(?s).*#### ", r"\.$"]


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        yield from (json.loads(line) for line in stream if line.strip())


def write(path: Path, made: Iterator[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")


def outputs(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `id`, `gold`, `response`."""
    if args.gsm8k_solutions is not None:
        for number, row in enumerate(rows(args.gsm8k_solutions)):
            gold = row["ground_truth"].rpartition("A: ")[2].strip()
            for name, told in row.items():
                if isinstance(told, dict) and (args.limit is None or number < args.limit):
                    before, _, answer = told["solution"].rpartition("A: ")
                    yield {"id": f"{number}, {name}", "gold": gold, "response": f"{before}#### {answer}"}
        return
    problems = {row["id"]: row["verifier"] for row in rows(args.problems)}
    for number, row in enumerate(rows(args.responses)):
        spec = problems[row["problem_id"]]
        if spec["type"] == "math":
            yield {"id": f"{number}, {row['problem_id']}", "gold": str(spec["answer"]), "response": row["response"]}


def theirs(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of `id` and the verdict of each scoring function, in the order of the outputs."""
    score: dict[str, Callable[[str, str], bool]] = {}
    extraction = importlib.import_module("lm_eval.filters.extraction")
    exact_match = importlib.import_module("lm_eval.api.metrics").exact_match_fn

    def by_pattern(pattern: str, select: int) -> Callable[[str, str], bool]:
        chosen = extraction.RegexFilter(regex_pattern=pattern, group_select=select)

        def one(response: str, gold: str) -> bool:
            ((found,),) = chosen.apply([[response]], [{}])
            told = exact_match(
                predictions=[found], references=[gold], regexes_to_ignore=GSM8K_IGNORED, ignore_case=True
            )
            return bool(told["exact_match"])

        return one

    score["lm_eval strict-match"] = by_pattern(GSM8K_STRICT, 0)
    score["lm_eval flexible-extract"] = by_pattern(GSM8K_FLEXIBLE, -1)
    if args.search_and_learn is not None:
        sys.path.insert(0, str(args.search_and_learn))
        extract = importlib.import_module("sal.utils.qwen_math_parser").extract_answer
        canonical = importlib.import_module("sal.utils.math").memoized_canonical_form
        score["search-and-learn"] = lambda response, gold: canonical(extract(response, "math")) == canonical(gold)
    for row in rows(args.outputs):
        yield {"id": row["id"], **{name: one(row["response"], row["gold"]) for name, one in score.items()}}


async def berry_verdicts(given: list[dict[str, Any]], strictness: str) -> list[Any]:
    """Berry's verdict on each output, by one checker: `berry.verify` would start one for each."""
    from berry.verifiers.checker import Checker, CheckRequest
    from berry.verifiers.config import CheckerConfig
    from berry.verifiers.specs.union import MathSpec

    async with Checker(CheckerConfig(slots=2)) as checker:
        raw = ({"type": "math", "answer": row["gold"], "strictness": strictness} for row in given)
        specs = [MathSpec.model_validate(one) for one in raw]
        requests = [CheckRequest(row["id"], spec, row["response"]) for row, spec in zip(given, specs, strict=True)]
        found: list[Any] = []
        for begin in range(0, len(requests), AT_ONCE):
            found += await asyncio.gather(*(checker.check(one) for one in requests[begin : begin + AT_ONCE]))
        return found


def compare(args: argparse.Namespace) -> None:
    """Prints a table, and each difference."""
    given, told = list(rows(args.outputs)), list(rows(args.verdicts))
    ours = {strictness: asyncio.run(berry_verdicts(given, strictness)) for strictness in ("strict", "lenient")}
    names = [name for name in told[0] if name != "id"]
    print(f"{len(given)} outputs\n\n| theirs | pass | Berry | pass | agree | ours alone | theirs alone |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        for strictness, verdicts in ours.items():
            pairs = [(row[name], bool(v.passed)) for row, v in zip(told, verdicts, strict=True)]
            agree = sum(a == b for a, b in pairs)
            counts = (sum(a for a, _ in pairs), sum(b for _, b in pairs), agree)
            alone = (sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs))
            print(f"| {name} | {counts[0]} | {strictness} | {counts[1]} | {counts[2]} | {alone[0]} | {alone[1]} |")
    for row, verdicts, v in zip(given, told, ours["lenient"], strict=True):
        others = {name: verdicts[name] for name in names if verdicts[name] != bool(v.passed)}
        if others:
            end = row["response"][-args.shown :].replace("\n", " ⏎ ")
            print(
                f"\n{row['id']}: gold {row['gold']!r}; Berry {v.outcome} ({v.reason}, {v.answer!r}); {others}\n  …{end}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    made = tasks.add_parser("outputs")
    made.add_argument("--gsm8k-solutions", type=Path)
    made.add_argument("--problems", type=Path)
    made.add_argument("--responses", type=Path)
    made.add_argument("--limit", type=int, help="problems of --gsm8k-solutions")
    scored = tasks.add_parser("theirs")
    scored.add_argument("outputs", type=Path)
    scored.add_argument("--search-and-learn", type=Path)
    for one in (made, scored):
        one.add_argument("-o", "--out", type=Path, required=True)
    compared = tasks.add_parser("compare")
    compared.add_argument("outputs", type=Path)
    compared.add_argument("verdicts", type=Path)
    compared.add_argument("--shown", type=int, default=200, help="last characters of an output")
    args = parser.parse_args()
    if args.task == "compare":
        compare(args)
    else:
        write(args.out, (outputs if args.task == "outputs" else theirs)(args))


if __name__ == "__main__":
    main()
