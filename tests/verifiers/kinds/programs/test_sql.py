"""Queries in the sandbox: equal rows however they are asked for, and nothing to be got by cheating."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.kinds.programs.sql import same_rows
from berry.verifiers.registry import fault
from berry.verifiers.specs.answers import SqlSpec

SETUP = "create table t(a int, b text, c double); insert into t values (1, 'x', 0.5), (2, 'y', 1.5), (2, null, 1.5);"
RIGHT = "select a, count(*) from t group by a"


@pytest.fixture(scope="module", params=["sqlite", "duckdb"])
def dialect(request) -> str:
    return request.param


async def check(response: str, dialect: str = "sqlite", **spec: object):
    raw = {"setup": SETUP, "dialect": dialect, "cpu_s": 5, **({"query": RIGHT} if "rows" not in spec else {}), **spec}
    async with Checker(CheckerConfig(slots=1)) as checker:
        return await checker.check(CheckRequest("p", SqlSpec.model_validate(raw), response))


async def test_equal_rows_pass_in_any_order(dialect) -> None:
    response = "Grouped:\n```sql\nSELECT a, SUM(1) AS n\nFROM t GROUP BY a ORDER BY a DESC;\n```"
    verdict = await check(response, dialect)
    assert verdict.reason is Reason.CORRECT
    assert not (await check(response, dialect, order="kept", query=RIGHT + " order by a")).passed


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("select a from t", Reason.WRONG_ANSWER),
        ("select distinct a, 1 from t", Reason.WRONG_ANSWER),
        ("select nope from t", Reason.RUNTIME_ERROR),
        ("select 1; drop table t", Reason.RUNTIME_ERROR),
        ("I don't know.", Reason.NO_CODE),
    ],
)
async def test_others_fail_with_their_reason(response, reason) -> None:
    verdict = await check(response)
    assert verdict.reason is reason
    assert verdict.outcome is Outcome.FAIL


@pytest.mark.slow
async def test_a_query_without_end_meets_its_limit() -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*), 1 from n"
    assert (await check(endless, cpu_s=1)).reason in (Reason.CPU_LIMIT, Reason.WALL_LIMIT)


async def test_a_setup_that_does_not_run_is_the_problems_fault(dialect) -> None:
    verdict = await check("select a from t", dialect, setup="create tabel t(a)", rows=[[1]])
    assert verdict.reason is Reason.TESTS_BROKEN
    assert "setup did not run" in verdict.evidence["note"]


async def test_a_right_query_that_does_not_run_is_the_problems_fault() -> None:
    assert (await check("select a from t", query="select z from t")).reason is Reason.TESTS_BROKEN


async def test_given_rows_are_compared_and_files_of_the_host_are_out_of_reach(dialect) -> None:
    assert (await check("select a, b from t where c < 1", dialect, rows=[[1, "x"]])).passed
    outside = "attach '/etc/passwd' as p; select 1" if dialect == "sqlite" else "select * from read_csv('/etc/passwd')"
    assert (await check(outside, dialect)).outcome is Outcome.FAIL


def test_rows_are_equal_as_a_database_means_it() -> None:
    rows = [[1, None], [2.0, "2"]]
    assert same_rows(rows, [[2, "2"], [1.0, None]], ordered=False, columns_ordered=True)
    assert not same_rows(rows, [[2, "2"], [1.0, None]], ordered=True, columns_ordered=True)
    assert not same_rows(rows, [[2, 2], [1, None]], ordered=False, columns_ordered=True)
    assert same_rows([[1, "a"]], [["a", 1]], ordered=True, columns_ordered=False)
    assert same_rows([[0.1 + 0.2]], [[0.3]], ordered=True, columns_ordered=True)
    assert not same_rows([[1], [1]], [[1]], ordered=False, columns_ordered=True)
    totals = [[12345678.905, "a"]], [[12345678.904999999, "a"]]  # ten digits round them apart
    for ordered in (True, False):
        assert same_rows(*totals, ordered=ordered, columns_ordered=True)
        assert not same_rows(totals[0], [[12345678.925, "a"]], ordered=ordered, columns_ordered=True)
        assert not same_rows(totals[0], [[12345678.905, "b"]], ordered=ordered, columns_ordered=True)


def test_what_can_judge_nothing_is_refused() -> None:
    assert "is no SELECT" in (fault(SqlSpec(query="drop table t")) or "")
    assert "one length" in (fault(SqlSpec.model_validate({"rows": [[1], [1, 2]]})) or "")
    with pytest.raises(ValueError, match="exactly one of"):
        SqlSpec()
