"""A confined tool is killed over its memory, wherever the kernel keeps it."""

from __future__ import annotations

import asyncio
import os
from glob import glob

import pytest

from berry.sandboxes.base import MIB
from berry.sandboxes.jobs.tool import open_confined, taken_bytes

PERL = "/usr/bin/perl"
LIBRARIES = [*glob("/usr/lib/*/perl*"), *glob("/usr/share/perl*")]
HOLDS = {
    "its_own": 'my $held = "x" x 40_000_000;',
    "sockets": "use Socket; my @held; for (1 .. 60) { socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC)"
    " or last; push @held, $a, $b }",
    "little": "my $held = 1;",
}


async def ended_over_memory(program: str) -> bool:
    program += " $| = 1; print qq(held\\n); sleep 20"
    tool = await open_confined(
        [PERL, "-e", program], env={}, cwd=None, readable=LIBRARIES, cpu_s=10, memory_bytes=20 * MIB
    )
    try:
        assert tool.process.stdout
        await asyncio.wait_for(tool.process.stdout.readline(), 10)
        for _ in range(20):
            if tool.over_memory:
                break
            await asyncio.sleep(0.02)
        return tool.over_memory
    finally:
        await tool.close()


@pytest.mark.skipif(not os.path.exists(PERL), reason="needs perl")
@pytest.mark.parametrize(("name", "over"), [("its_own", True), ("sockets", True), ("little", False)])
def test_a_tool_over_its_memory_is_killed(name, over):
    assert asyncio.run(ended_over_memory(HOLDS[name])) == over


def test_a_process_that_has_ended_takes_nothing():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert taken_bytes(pid) == 0
    assert taken_bytes(os.getpid()) > MIB
