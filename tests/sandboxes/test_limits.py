"""Programs that use too much of something: each ends in its own outcome, within its limits, and leaves
nothing."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from berry.sandboxes.attacks.limits import MAPPED_FILES, OVER, PAGE_TABLES, SHARED_MEMORY, SHELL_OVER
from berry.sandboxes.attacks.run import SHELL
from berry.sandboxes.attacks.verdicts import CLOSED, CRASHES
from berry.sandboxes.base import MIB, Call, Job, JobOutcome, Limits
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool
from tests.sandboxes.conftest import launcher_of


@pytest.mark.parametrize("case", OVER)
def test_overuse_ends_in_its_own_outcome(box, case):
    source, expected = OVER[case]
    limits = Limits(cpu_s=0.5, wall_s=1.0, memory_bytes=128 * MIB, output_bytes=MIB // 4, disk_bytes=4 * MIB)
    if "CPU" in str(expected) or "cpu" in str(expected):
        limits = Limits(cpu_s=0.3, wall_s=20.0, memory_bytes=128 * MIB, disk_bytes=MIB)
    elif expected != JobOutcome.WALL_LIMIT:
        limits = Limits(cpu_s=10.0, wall_s=20.0, memory_bytes=128 * MIB, output_bytes=MIB // 4, disk_bytes=4 * MIB)
    result = box.program(source, limits=limits)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    assert result.outcome in wanted, result
    assert len(result.cases[0].stdout) <= limits.output_bytes
    if result.outcome in (JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT):
        assert result.limit_hit == result.outcome.removesuffix("_limit")


@pytest.mark.slow
@pytest.mark.parametrize("case", SHELL_OVER)
def test_what_a_shells_processes_take_together_counts(box, case):
    source, expected = SHELL_OVER[case]
    result = box.run(Job(source, language="shell", limits=SHELL))
    ended = (*expected, JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT, JobOutcome.MISSING_TOOL)
    assert result.outcome in ended, result
    few = "for i in 1 2 3 4; do (sleep 0.1; echo $i) & done; wait; (head -c 20000000 /dev/zero | tail -c 1 | wc -c)"
    honest = box.run(Job(few, language="shell", limits=SHELL))
    assert honest.outcome in (JobOutcome.OK, JobOutcome.MISSING_TOOL), honest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "less"),
    [(SHARED_MEMORY, ("n < 1024", "n < 32")), (PAGE_TABLES, ("1ul << 39", "1ul << 34"))],
    ids=["shared", "page tables"],
)
def test_memory_that_no_limit_of_the_kernel_counts_is_counted(box, source, less):
    limits = Limits(cpu_s=10, wall_s=20, memory_bytes=128 * MIB)
    result = box.run(Job(source, language="cpp", limits=limits))
    assert result.outcome in (JobOutcome.MEMORY_LIMIT, JobOutcome.MISSING_TOOL), result
    assert result.outcome is JobOutcome.MISSING_TOOL or b"DONE" not in result.cases[0].stdout
    modest = source.replace(*less).replace("sleep(3600)", "sleep(1)")
    assert modest != source
    assert box.run(Job(modest, language="cpp", limits=limits)).outcome in (JobOutcome.OK, JobOutcome.MISSING_TOOL)


@pytest.mark.slow
def test_removed_files_that_are_still_mapped_count_as_disk(box):
    limits = Limits(cpu_s=10, wall_s=20, disk_bytes=8 * MIB)
    result = box.run(Job(MAPPED_FILES, language="cpp", limits=limits))
    assert result.outcome in (JobOutcome.DISK_LIMIT, JobOutcome.MISSING_TOOL), result
    modest = MAPPED_FILES.replace("n < 64", "n < 4").replace("sleep(3600)", "sleep(1)")
    assert box.run(Job(modest, language="cpp", limits=limits)).outcome in (JobOutcome.OK, JobOutcome.MISSING_TOOL)


HELD = """
import socket
kept, held = [], 0
try:
    while True:
        for end in socket.socketpair():
            kept.append(end)
            end.setblocking(False)
            try:
                while True: held += end.send(bytes(4096))
            except BlockingIOError: pass
except OSError: pass
block = 1 << 20
try:
    while True: kept.append(bytes(block)); held += block
except MemoryError: pass
print(len(kept) > 20, held)
"""


def test_what_sockets_hold_is_taken_off_the_memory_of_a_python_job(box):
    result = box.run(Job(HELD, limits=Limits(cpu_s=10, wall_s=20, memory_bytes=128 * MIB)))
    filled, held = result.cases[0].stdout.split()
    assert filled == b"True"
    assert 100 * MIB < int(held) <= 128 * MIB


def test_what_one_job_writes_leaves_others_their_room(make_box, level):
    """A job that fills its slot's file system, by files that it has removed, while another works beside it."""
    box = make_box(launcher=launcher_of(level), slots=2)
    if not box.pool.host().slot_bytes:
        pytest.skip("slots share the host's file system at this level")
    source, _ = OVER["fill_the_disk_with_files_without_a_name"]

    async def both() -> list[JobOutcome]:
        wide = Limits(cpu_s=10, wall_s=1.5, disk_bytes=1 << 40)  # so that only the file system ends it
        full = asyncio.create_task(box.pool.run(Job(source, limits=wide)))
        ends = []
        while not full.done():
            beside = await box.pool.run(Job("open('a', 'wb').write(bytes(1 << 23))", limits=Limits(wall_s=20)))
            ends.append(beside.outcome)
        return ends

    assert set(box.wait(both())) == {JobOutcome.OK}


def test_a_tight_host_limit_does_not_hit_its_neighbour(box):
    slow = Job("import time; time.sleep(60)", limits=Limits(cpu_s=1, wall_s=0.5))
    assert box.run(slow).outcome is JobOutcome.WALL_LIMIT
    assert box.program("print(1)").cases[0].stdout == b"1\n"


def test_earlier_cases_survive_a_later_one(box):
    source = "def f(x):\n    while x == 2: pass\n    return x"
    limits = Limits(cpu_s=0.3, wall_s=20)
    result = box.run(Job(source, entry_point="f", calls=tuple(Call((i,)) for i in range(5)), limits=limits))
    assert [c.outcome for c in result.cases] == [
        JobOutcome.OK, JobOutcome.OK, JobOutcome.CPU_LIMIT, JobOutcome.NOT_RUN, JobOutcome.NOT_RUN,
    ]  # fmt: skip
    assert result.outcome is JobOutcome.CPU_LIMIT


VALUES = {
    "huge_int": ("10 ** 10 ** 5", 10**10**5),
    "negative_huge_int": ("-(1 << 100000)", -(1 << 100000)),
    "infinity": ("float('-inf')", -math.inf),
    "complex": ("complex(1, -0.0)", complex(1, -0.0)),
    "bytes": ("bytes(range(256))", bytes(range(256))),
    "nul_and_lone_surrogate": ("'a\\0b\\ud800'", "a\0b\ud800"),
    "nested": ("{(1, 2): [{3}, frozenset({4}), None, True]}", {(1, 2): [{3}, frozenset({4}), None, True]}),
    "decimal": ("__import__('decimal').Decimal('1.10')", __import__("decimal").Decimal("1.10")),
    "fraction": ("__import__('fractions').Fraction(1, 3)", __import__("fractions").Fraction(1, 3)),
    "counter": ("__import__('collections').Counter('aab')", {"a": 2, "b": 1}),
    "range": ("range(3)", range(3)),
    "negative_zero": ("-0.0", -0.0),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_come_back_as_they_were(box, case):
    source, expected = VALUES[case]
    value = box.call(f"def f(): return {source}").cases[0].value
    assert value == expected
    assert type(value) is type(expected) or case == "counter"
    assert "huge" in case or repr(value) == repr(expected)


def test_not_a_number_comes_back(box):
    assert math.isnan(box.call("def f(): return float('nan')").cases[0].value)


def test_arguments_arrive_as_they_were(box):
    given = [1, 2.5, None, True, "ä\ud800", b"\xff", {1: (2, 3)}, {4}, 1 << 3000, 1j]
    assert box.call("def f(x): return x", given).cases[0].value == given


REFUSED = {
    "object": ("object()", JobOutcome.UNSUPPORTED_VALUE),
    "function": ("len", JobOutcome.UNSUPPORTED_VALUE),
    "generator": ("(i for i in 'ab')", JobOutcome.UNSUPPORTED_VALUE),
    "too_deep": ("__import__('functools').reduce(lambda a, _: [a], range(100000), [])", JobOutcome.UNSUPPORTED_VALUE),
    "ten_million_digits": ("1 << 33_000_000", JobOutcome.OUTPUT_LIMIT),
    "too_long_a_string": ("'x' * 3_000_000", JobOutcome.OUTPUT_LIMIT),
    "too_long_a_list": ("[0] * 2_000_000", JobOutcome.OUTPUT_LIMIT),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_are_not_short_plain_data_are_refused(box, case):
    source, expected = REFUSED[case]
    result = box.call(f"def f(): return {source}", limits=Limits(cpu_s=10))
    assert result.outcome is expected, result
    assert result.cases[0].value is None


SOURCES = {
    "syntax_error": ("def f(:", JobOutcome.COMPILE_ERROR),
    "nul_in_source": ("x = 1\0", JobOutcome.COMPILE_ERROR),
    "lone_surrogate_in_source": ("x = '\ud800'", JobOutcome.COMPILE_ERROR),
    "unindent": ("if 1:\nx", JobOutcome.COMPILE_ERROR),
    "error_while_loading": ("1 / 0", JobOutcome.RUNTIME_ERROR),
    "no_such_function": ("x = 1", JobOutcome.MISSING_ENTRY_POINT),
    "function_is_none": ("f = None", JobOutcome.MISSING_ENTRY_POINT),
    "empty": ("", JobOutcome.MISSING_ENTRY_POINT),
}


@pytest.mark.parametrize("case", SOURCES)
def test_sources_that_can_not_be_called(box, case):
    source, expected = SOURCES[case]
    assert box.call(source).outcome is expected


STREAMS = {
    "invalid_utf8_out": ("import os\nos.write(1, b'\\xff\\xfe\\0')", b"", b"\xff\xfe\0"),
    "invalid_utf8_through": ("import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())", b"\xff\0\n", b"\xff\0\n"),
    "closed_stdin": ("import os\nos.close(0)\nprint(1)", b"", b"1\n"),
    "lines": ("import sys\nfor l in sys.stdin: print(len(l))", b"a\nbb\n", b"2\n3\n"),
    "input_by_descriptor": ("print(open(0).read())", b"x", b"x\n"),
    "output_at_exit": ("import atexit\natexit.register(print, 'late')", b"", b"late\n"),
    "output_of_a_thread": ("import threading\nthreading.Thread(target=print, args=(5,)).start()", b"", b"5\n"),
    "surrogate_out": ("print('\\ud800')", b"", b"\\ud800\n"),
}


@pytest.mark.parametrize("case", STREAMS)
def test_streams_carry_bytes(box, case):
    source, given, expected = STREAMS[case]
    result = box.program(source, given)
    assert result.outcome is JobOutcome.OK, result
    assert result.cases[0].stdout == expected


def test_closed_descriptors_are_the_programs_problem(box):
    result = box.program("import os\nfor i in range(10):\n    try: os.close(i)\n    except OSError: pass\nprint(1)")
    assert result.outcome in (JobOutcome.RUNTIME_ERROR, JobOutcome.OK)
    assert box.call("import os\ndef f():\n    os.closerange(0, 10)\n    return 1").outcome is JobOutcome.RUNTIME_ERROR


def test_exit_status_is_told(box):
    assert box.program("raise SystemExit(3)").cases[0].exit_code == 3
    assert box.program("raise SystemExit(0)").outcome is JobOutcome.OK
    assert box.program("raise SystemExit('sorry')").cases[0].stderr == b"sorry\n"


def test_an_exception_is_printed_and_reported(box):
    case = box.program("print(1)\n[][0]").cases[0]
    assert case.outcome is JobOutcome.RUNTIME_ERROR
    assert case.stdout == b"1\n"
    assert case.stderr.rstrip().endswith(b"IndexError: list index out of range")


@pytest.mark.parametrize("closed", CLOSED)
def test_a_crash_whose_farewell_fails_is_a_crash(box, closed):
    for crash in CRASHES:
        source = f"exec({CLOSED[closed]!r})\nexec({crash!r})"
        assert box.program(source).outcome.blames_program, (closed, crash)
    assert box.program(CLOSED[closed]).outcome is JobOutcome.OK  # an honest program may close what it does not use


@pytest.mark.parametrize(("load", "factor"), [(0.0, 1.0), (1.0, 1.0), (3.0, 3.0), (50.0, 4.0)])
def test_a_busy_host_lengthens_wall_limits_and_no_others(monkeypatch, load, factor):
    monkeypatch.setattr("os.getloadavg", lambda: (2 * load, 0.0, 0.0))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    given = Limits(cpu_s=2, wall_s=10)
    pool = SandboxPool(PoolConfig(calibration=0.5))
    assert pool.limits_now(given) == replace(given, cpu_s=1, wall_s=5 * factor)


def test_where_the_host_hides_its_load_limits_are_as_given(monkeypatch):
    def hidden() -> None:
        raise OSError

    monkeypatch.setattr("os.getloadavg", hidden)
    assert SandboxPool(PoolConfig(calibration=1.0)).limits_now(Limits(wall_s=3)) == Limits(wall_s=3)
