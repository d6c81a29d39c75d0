"""Log lines are JSON and carry the ids of what they are about."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from berry.pipeline import logs


@pytest.fixture
def lines() -> Any:
    stream = io.StringIO()
    logger = logging.getLogger("berry.test_logs")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


async def test_a_line_has_the_ids_of_its_own_task(lines: Any) -> None:
    logger, written = lines

    async def search(problem: str) -> None:
        with logs.bound(problem=problem):
            await asyncio.sleep(0)
            logger.warning("odd", extra={"ids": {"trajectory": f"{problem}/1"}})

    with logs.bound(run="r", lease=3):
        await asyncio.gather(search("a"), search("b"))
        logger.info("committed")
    logger.info("outside")
    a, b, committed, outside = written()
    assert (a["run"], a["lease"], a["problem"], a["trajectory"], a["level"]) == ("r", 3, "a", "a/1", "warning")
    assert b["problem"] == "b"
    assert "problem" not in committed
    assert "run" not in outside
    assert a["time"].endswith("+00:00")


def test_an_exception_stays_on_its_line(lines: Any) -> None:
    logger, written = lines
    try:
        raise ValueError("what")
    except ValueError:
        logger.exception("failed")
    [line] = written()
    assert "ValueError: what" in line["exception"]
