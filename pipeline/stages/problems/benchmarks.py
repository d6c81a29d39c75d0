"""Names the standard benchmarks: which importer reads their published file, how the field asks, how it judges.

    benchmarks.NAME.path ─► importer ─► problems, asked and judged as chat models are in published reports

Mathematics is asked for step by step with a boxed answer, without examples (Qwen2.5-Math, Yang et al. 2024;
DeepSeek-R1, 2025), and compared leniently, as the MATH data set's own checker and Math-Verify do. Functions are asked
for as the importer puts it (instruction, signature or tests, one code block), and judged by the benchmark's own tests.
Base models that were measured with examples in the prompt (GSM8K with 5, MATH with 4) are asked otherwise: such figures
are not comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.importing import read_rows
from berry.verifiers.specs.union import MathSpec

BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class StandardBenchmark:
    """`dataset`: the importer's name; `suffix`: put after each question; `items`: how many problems it has; `numbers`:
    the tasks that are its test part, where its file holds others too."""

    title: str
    dataset: str
    suffix: str
    items: int | None
    numbers: range | None = None

    def holds(self, problem: Problem) -> bool:
        """Whether a problem of the file is of the benchmark."""
        number = problem.id.rpartition("-")[2]
        return self.numbers is None or (number.isdecimal() and int(number) in self.numbers)

    def asked(self, problem: Problem, suffix: str | None) -> Problem:
        """The problem as the field asks and judges it; `suffix` of a configuration comes first."""
        spec = problem.verifier
        if isinstance(spec, MathSpec) and spec.strictness is None:
            lenient = type(spec).model_validate({**spec.model_dump(), "strictness": "lenient"})
            problem = problem.model_copy(update={"verifier": lenient})
        return problem.with_suffix(self.suffix if suffix is None else suffix)


STANDARD = {
    "gsm8k": StandardBenchmark("GSM8K, test", "gsm8k", BOXED, 1319),
    "math500": StandardBenchmark("MATH-500", "math500", BOXED, 500),
    "aime24": StandardBenchmark("AIME 2024", "aime", BOXED, 30),
    "aime25": StandardBenchmark("AIME 2025", "aime", BOXED, 30),
    "humaneval": StandardBenchmark("HumanEval", "humaneval", "", 164),
    "mbpp": StandardBenchmark("MBPP, test", "mbpp", "", 500, range(11, 511)),
    "livecodebench": StandardBenchmark("LiveCodeBench", "livecodebench", "", None),
}
"""By the name that a configuration gives."""


def is_problem_file(path: str) -> bool:
    """Whether a file's first row is a problem of Berry's own, with its verifier. Raises ProblemFileError."""
    for _, row in read_rows(path):
        return "verifier" in row and "prompt" in row
    return True


def partial_note(name: str, dataset: str, taken: int) -> str | None:
    """What is to be said of a standard benchmark of which only some problems were taken, or more than it has."""
    known = STANDARD.get(dataset)
    if known is None or known.items in (None, taken):
        return None
    return f"{name}: {taken:,} problems, where {known.title} has {known.items:,}: not a figure to compare with others'"
