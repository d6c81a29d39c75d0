"""Leases that are passed over are not read, and the others are those that they would have been."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from berry.pipeline.config.sections.problems import (
    ArithmeticProblems,
    FileProblems,
    ProblemsConfig,
    SyntheticProblems,
)
from berry.pipeline.records import Problem
from berry.pipeline.stages.leases import partition
from berry.pipeline.stages.leases.partition import AllBut, iter_leases
from berry.pipeline.stages.problems import files, sources
from berry.pipeline.stages.problems.base import ProblemReader


class FromElsewhere(ProblemsConfig):
    type: Literal["from_elsewhere"] = "from_elsewhere"


class ElsewhereReader(ProblemReader[FromElsewhere]):
    """Knows nothing of passing over, as a reader of another package."""

    config = FromElsewhere

    def problems(self) -> Iterator[Problem]:
        return (Problem.model_validate(row(f"e{i}")) for i in range(11))


def row(problem_id: str) -> dict[str, object]:
    return {"id": problem_id, "prompt": f"What is {problem_id}?", "verifier": {"type": "math", "answer": "1"}}


@pytest.fixture
def of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ProblemsConfig]:
    lines, table = tmp_path / "lines.jsonl", tmp_path / "table.parquet"
    lines.write_text("\n\n".join(json.dumps(row(f"l{i}")) for i in range(40)))
    rows = [{**row(f"t{i}"), "verifier": json.dumps(row("")["verifier"])} for i in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), table, row_group_size=7)
    known = sources.reader_of
    monkeypatch.setattr(
        sources, "reader_of", lambda s: ElsewhereReader(s) if isinstance(s, FromElsewhere) else known(s)
    )
    return [
        FileProblems(type="file", path=str(lines), limit=33, suffix=" Think."),
        SyntheticProblems(type="synthetic", count=21, seed=3),
        FileProblems(type="file", path=str(table), limit=31),
        FromElsewhere(),
        ArithmeticProblems(type="arithmetic", count=9, seed=1),
    ]


def in_three(problem: Problem) -> Iterator[Problem]:
    return (problem.renamed(f"{problem.id}@{mode}", variant_of=problem.id) for mode in "abc")


@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_is_the_same_whatever_is_passed_over(
    seed: int, of_every_kind: list[ProblemsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = Random(seed)
    monkeypatch.setattr(partition, "MOST_PASSED", chance.choice((1, 5, 4096)))
    size, steps = chance.randint(1, 9), chance.choice((1, 2))
    times, modes = chance.choice(((1, sources.as_it_is), (3, in_three)))
    everything = list(iter_leases(of_every_kind, size=size, skip=(), in_modes=modes, steps=steps))
    done = chance.randint(0, len(everything))
    skip = {lease.number for lease in everything if lease.number < done or chance.random() < 0.7}
    wanted = [lease for lease in everything if lease.number not in skip]
    for given in (skip, AllBut([lease.number for lease in wanted])):
        assert (
            list(iter_leases(of_every_kind, size=size, skip=given, in_modes=modes, steps=steps, times=times)) == wanted
        )


def test_a_problem_of_a_committed_lease_is_not_parsed(
    of_every_kind: list[ProblemsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    parse = files.parse_problem
    monkeypatch.setattr(files, "parse_problem", lambda row, where: parsed.append(row["id"]) or parse(row, where))
    (lease,) = iter_leases(of_every_kind[:1], size=8, skip=AllBut([3]), times=1)
    assert [problem.id for problem in lease.problems] == parsed[:8] == [f"l{i}" for i in range(24, 32)]
    assert len(parsed) == 8


def test_where_problems_were_left_out_every_one_is_read(of_every_kind: list[ProblemsConfig]) -> None:
    (lease, *_) = iter_leases(of_every_kind, size=4, skip={0}, left_out={"l1"}, times=1)
    assert [problem.id for problem in lease.problems] == ["l5", "l6", "l7", "l8"]
