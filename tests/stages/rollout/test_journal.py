"""What is written of a lease's journal while the lease ends."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from berry.pipeline.core.events import Cancelled
from berry.pipeline.stages.rollout.journal import LeaseJournal
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run import segments


async def test_a_segment_on_its_way_is_not_overtaken_by_the_end_of_the_lease(tmp_path: Path, monkeypatch) -> None:
    begun, go_on, write = threading.Event(), threading.Event(), segments.write

    def slow(*arguments: Any, **keywords: Any) -> int:
        begun.set()
        go_on.wait(10)
        return write(*arguments, **keywords)

    monkeypatch.setattr(segments, "write", slow)
    journal = LeaseJournal(locate(str(tmp_path)), 3, 0)
    journal.record("p", Cancelled("node"))
    flush = asyncio.create_task(journal.flush())
    await asyncio.to_thread(begun.wait, 10)
    end = asyncio.create_task(journal.remove())
    await asyncio.sleep(0.05)
    assert not end.done()
    go_on.set()
    assert await flush > 0
    await end
    assert not list(tmp_path.rglob("*-0*"))
    assert await journal.flush() == 0
