"""Each privilege level gets the jail that it can have, and no less."""

from __future__ import annotations

from sandboxes.base import Outcome


def test_the_jail_is_complete_at_this_level(box, level):
    plan = box.pool.host()
    assert plan.seccomp
    assert plan.landlock >= 1
    if level == "pod":
        assert plan.namespaces == ()
        assert plan.notes
    if level == "root":
        assert plan.root


def test_ordinary_work_is_done_at_this_level(box):
    result = box.call("import heapq, csv\ndef f(x):\n    return sorted(x), {'a': (1, 2.5, None)}", [3, 1, 2])
    assert result.outcome is Outcome.OK
    assert result.cases[0].value == ([1, 2, 3], {"a": (1, 2.5, None)})
