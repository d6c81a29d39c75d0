"""Sessions of the tools sql and custom in real sandboxes: what the model reads, state along a path, hostile classes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rollout.tools import CustomTool, SqlTool, Tool
from berry.pipeline.records import Problem
from berry.pipeline.stages.tools.programs import fault_for, is_alone, limits_of, loaded_for
from berry.sandboxes.base import JobOutcome
from berry.sandboxes.sessions import SessionCall, SessionKeeper, SessionReply
from berry.verifiers.config import CheckerConfig
from berry.verifiers.sandbox_limits import pool_config

pytestmark = pytest.mark.asyncio(loop_scope="module")
SETUP = "create table city (name text, people integer); insert into city values ('Rome', 2800000), ('Pisa', NULL);"


@pytest.fixture(scope="module")
async def keeper() -> AsyncIterator[SessionKeeper]:
    keeper = SessionKeeper(pool_config(CheckerConfig()), slots=1, sessions=4, profile="bare")
    await keeper.start()
    yield keeper
    await keeper.close()


def problem(**verifier: Any) -> Problem:
    spec: Any = verifier or {"type": "math", "answer": "1"}
    return Problem(id="p", prompt="Which?", verifier=spec, meta={"low": 2})


class Path:
    """The calls of a tool on one path, as a search makes them."""

    def __init__(self, keeper: SessionKeeper, tool: Tool, of: Problem | None = None) -> None:
        self.keeper, self.tool, self.problem = keeper, tool, of or problem()
        self.past: tuple[tuple[str, str], ...] = ()

    async def call(self, text: str) -> SessionReply:
        loaded, alone = loaded_for(self.tool, self.problem), is_alone(self.tool)
        past = () if alone else self.past
        limits = limits_of(self.tool)
        reply = await self.keeper.call(
            SessionCall(f"t/{id(self.tool)}", past, text, limits, 2000, loaded.profile, loaded.program, alone)
        )
        self.past = () if reply.ended else (*self.past, (text, reply.text))
        return reply

    def branch(self, calls: int) -> Path:
        other = Path(self.keeper, self.tool, self.problem)
        other.past = self.past[:calls]
        return other


# ---- sql ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
async def test_a_query_gives_a_table_and_a_wrong_one_says_why(keeper: SessionKeeper, dialect: str) -> None:
    path = Path(keeper, SqlTool(max_rows=2), problem(type="sql", dialect=dialect, setup=SETUP, query="select 1"))
    reply = await path.call("select name, people from city order by name desc;")
    assert reply.text == "name | people\nRome | 2800000\nPisa | NULL\n(2 rows)"
    reply = await path.call("select 1 as a union all select 2 union all select 3")
    assert reply.text.endswith("(2 rows, and there are more)")
    wrong = await path.call("select nme from city")
    assert wrong.outcome is JobOutcome.RUNTIME_ERROR
    assert "nme" in wrong.text
    for statement in ("delete from city", "drop table city", "attach 'x.db' as other", "pragma query_only = off"):
        refused = await path.call(statement)
        assert refused.text == "Refused: the database is read-only", statement
    assert "2 rows" in (await path.call("select * from city")).text


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
async def test_with_access_copy_each_path_has_a_database_of_its_own(keeper: SessionKeeper, dialect: str) -> None:
    path = Path(keeper, SqlTool(access="copy", setup=SETUP, dialect=dialect))  # type: ignore[arg-type]
    await path.call("insert into city values ('Bari', 300000)")
    branch = path.branch(1)
    await path.call("delete from city")
    assert "0" in (await path.call("select count(*) as n from city")).text
    reply = await branch.call("select count(*) as n from city")
    assert reply.text.splitlines()[1] == "3"
    assert (reply.replayed, reply.nondeterministic) == (1, False)


async def test_a_problem_without_a_database_is_refused_before_the_run() -> None:
    fault = fault_for(Rollout(tools=(SqlTool(),)))
    assert fault is not None
    assert "verifier of type sql, and this problem's is of type math" in (fault(problem()) or "")
    sql = {"type": "sql", "setup": SETUP, "query": "select 1"}
    assert fault(problem(**sql)) is None
    assert fault(problem(type="all_of", parts=[sql])) is None
    assert fault_for(Rollout(tools=(SqlTool(setup=SETUP),))) is None


# ---- custom ---------------------------------------------------------------------------------------------------------

DICE = '''
class Counter:
    """Counts up."""
    description = "Adds to a total."
    parameters = {"type": "object", "properties": {"by": {"type": "integer"}}, "required": ["by"]}

    def __init__(self, problem, step=1):
        self.total, self.step = problem["meta"]["low"], step

    def call(self, by):
        print("not for the model")
        self.total += by * self.step
        return {"total": self.total}
'''


def custom(source: str, name: str, **more: Any) -> CustomTool:
    return CustomTool(target=f"own.py:{name}", source=source, **more)


async def test_a_class_keeps_its_state_along_a_path(keeper: SessionKeeper) -> None:
    path = Path(keeper, custom(DICE, "Counter", options={"step": 10}))
    assert (await path.call('{"by": 1}')).text == '{"total": 12}'
    branch = path.branch(1)
    assert (await path.call('{"by": 2}')).text == '{"total": 32}'
    side = await branch.call('{"by": 3}')
    assert (side.text, side.replayed, side.nondeterministic) == ('{"total": 42}', 1, False)


async def test_a_stateless_class_is_made_anew_for_each_call_and_nothing_is_replayed(keeper: SessionKeeper) -> None:
    path = Path(keeper, custom(DICE, "Counter", stateless=True))
    replies = [await path.call('{"by": 1}') for _ in range(3)]
    assert [reply.text for reply in replies] == ['{"total": 3}'] * 3
    assert not any(reply.replayed for reply in replies)


async def test_a_class_of_an_installed_package_is_imported_in_the_jail(keeper: SessionKeeper) -> None:
    empty = {"type": "object", "properties": {}}
    tool = CustomTool(target="berry.sandboxes.base:Call", parameters=empty, options={"args": ["seen"]})
    reply = await Path(keeper, tool).call("{}")
    assert reply.outcome is JobOutcome.FAULT, "its first argument is no problem"
    assert "TypeError" in reply.text


HOSTILE = """
import os, socket, time
class Tool:
    parameters = {"type": "object", "properties": {"how": {"type": "string"}}}
    def __init__(self, problem, fails=False):
        if fails:
            raise ValueError("no such option")
    def call(self, how):
        if how == "hang":
            time.sleep(60)
        if how == "compute":
            while True:
                pass
        if how == "die":
            os._exit(3)
        if how == "print":
            print("x" * 5_000_000)
        if how == "return":
            return "x" * 5_000_000
        if how == "grow":
            return bytearray(1 << 30)
        if how == "fork":
            os.fork()
        if how == "phone":
            socket.create_connection(("127.0.0.1", 1))
        if how == "read":
            return open("/etc/shadow").read()
        if how == "write":
            open("/tmp/escaped", "w")
        if how == "raise":
            raise KeyError(how)
        return "well"
"""


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("hang", JobOutcome.WALL_LIMIT),
        ("compute", JobOutcome.CPU_LIMIT),
        ("die", JobOutcome.RUNTIME_ERROR),
        ("print", JobOutcome.OUTPUT_LIMIT),
        ("return", JobOutcome.OUTPUT_LIMIT),
        ("grow", JobOutcome.MEMORY_LIMIT),
        ("fork", JobOutcome.VIOLATION),
        ("phone", JobOutcome.VIOLATION),
        ("read", None),
        ("write", None),
        ("raise", JobOutcome.RUNTIME_ERROR),
    ],
)
async def test_a_hostile_class_has_an_outcome_of_its_own_and_the_path_goes_on(
    keeper: SessionKeeper, how: str, outcome: JobOutcome | None
) -> None:
    limits = {"call_wall_s": 1.0 if how == "hang" else 60.0, "cpu_s": 0.5 if how == "compute" else 20.0}
    path = Path(keeper, custom(HOSTILE, "Tool", memory_mb=128, output_kb=64, **limits))
    reply = await path.call(json.dumps({"how": how}))
    assert reply.outcome is outcome or (outcome is None and reply.outcome is not JobOutcome.OK)
    assert reply.text
    after = await path.call('{"how": "nothing"}')
    assert (after.text, after.outcome) == ("well", JobOutcome.OK)


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        (
            "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
            JobOutcome.CPU_LIMIT,
        ),
        ("select load_extension('x')", JobOutcome.RUNTIME_ERROR),
        ("select writefile('x', 'y')", JobOutcome.RUNTIME_ERROR),
    ],
    ids=["computes", "loads", "writes"],
)
async def test_a_hostile_query_has_an_outcome_of_its_own(
    keeper: SessionKeeper, statement: str, outcome: JobOutcome
) -> None:
    path = Path(keeper, SqlTool(setup=SETUP, cpu_s=0.5))
    assert (await path.call(statement)).outcome is outcome
    assert "2" in (await path.call("select count(*) from city")).text


async def test_a_class_that_can_not_be_made_is_the_tools_fault(keeper: SessionKeeper) -> None:
    reply = await Path(keeper, custom(HOSTILE, "Tool", options={"fails": True})).call("{}")
    assert (reply.outcome, reply.text) == (JobOutcome.FAULT, "ValueError: no such option")
    late = custom(HOSTILE + "\ntime.sleep(60)\n", "Tool", call_wall_s=0.5)
    reply = await Path(keeper, late).call("{}")
    assert reply.failed
    assert "no result within 0.5 s" in reply.text


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"target": "none.py:Tool"}, "can't read"),
        ({"target": "no_such_package.x:Tool"}, "there is no module 'no_such_package' here"),
        ({"target": "json:Tool"}, "json has no class Tool"),
        ({"target": "own.py:Tol", "source": HOSTILE}, "own.py has no class Tol (classes: Tool)"),
        ({"target": "own.py:Tool", "source": "class Tool"}, "line 1 is no Python"),
        ({"target": "own.py:Tool", "source": "class Tool:\n    pass"}, "its arguments are not known"),
    ],
)
async def test_a_class_that_is_not_there_is_refused_when_the_configuration_is_read(raw: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=r"target|arguments") as caught:
        CustomTool(**raw)
    assert said in str(caught.value)
