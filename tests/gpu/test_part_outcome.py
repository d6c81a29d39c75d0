from __future__ import annotations

import io
import json

import pytest
from part_outcome import Figure, Result, Status, at_least, at_most, exit_code, from_dict, judged, table, to_json
from rich.console import Console


def shown(results: list[Result]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table(results, "one H100"))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_part_is_as_good_as_its_worst_figure() -> None:
    good, bad = at_least("rate", 0.95, 0.9), at_most("apart", 0.5, 0.02)
    assert judged("p", [good], wall_s=1, raw={}).status == Status.OK
    found = judged("p", [good, bad], wall_s=1, raw={})
    assert (found.status, found.why) == (Status.UNHEALTHY, "apart")


def test_a_figure_of_another_device_is_told_and_not_judged() -> None:
    figure = at_least("rate", 0.3, 0.9, judged=False)
    assert figure.good is None
    assert judged("p", [figure], wall_s=1, raw={}).status == Status.OK


@pytest.mark.parametrize("figure", [at_least("x", None, 1), at_most("x", None, 1), at_least("x", float("nan"), 1)])
def test_a_figure_that_could_not_be_had_is_not_good(figure: Figure) -> None:
    assert figure.good is False


def test_the_table_says_what_is_wrong_and_what_could_not_be_run() -> None:
    text = shown(
        [
            judged("fast", [at_least("rate", 12345.6, 1)], wall_s=3, raw={}),
            judged("slow", [at_least("rate", 0.5, 0.9)], wall_s=3, raw={}),
            Result("broken", Status.FAILED, why="out of memory", wall_s=7),
            Result("gpu", Status.NOT_RUN, why="no CUDA device"),
        ]
    ).replace("\N{NO-BREAK SPACE}", " ")
    assert "one H100" in text
    for line in ("rate 12,346", "rate 0.5 (should be >= 0.9)", "failed: out of memory", "not run: no CUDA device"):
        assert line in text


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([Status.OK], 0),
        ([Status.OK, Status.NOT_RUN], 3),
        ([Status.NOT_RUN, Status.UNHEALTHY], 1),
        ([Status.NOT_RUN, Status.FAILED], 1),
    ],
)
def test_what_was_not_run_does_not_pass(statuses: list[Status], code: int) -> None:
    assert exit_code([Result("p", status) for status in statuses]) == code


def test_results_survive_json() -> None:
    result = judged("p", [at_least("rate", 0.5, 0.9), Figure("text", "a")], wall_s=2.5, raw={"deep": {"x": [1]}})
    read = json.loads(to_json([result], {"gpu": "H100"}))
    assert read["machine"] == {"gpu": "H100"}
    assert from_dict(read["parts"][0]) == result
