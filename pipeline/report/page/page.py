"""Writes report.html: one file that needs no network, whatever text the run holds.

Facts, pictures, Samples ─► run.html.j2 (texts escaped, data as JSON that can't close its script) ─► bytes
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from berry.pipeline.report.browser.tree_json import TokenEnds
from berry.pipeline.report.page.facts import gather
from berry.pipeline.report.page.figures import pictures
from berry.pipeline.report.page.samples import draw_samples, list_row
from berry.pipeline.report.pages import browser_file, fill
from berry.pipeline.storage.run.directory import RunDir

NAME = "report.html"


def make_report(run: RunDir, *, token_ends: TokenEnds | None = None, now: datetime | None = None) -> bytes:
    """The page of a run, finished, in progress, empty, of an older version or damaged in parts. Raises StorageError
    where there is no run at all."""
    facts = gather(run)
    samples = draw_samples(run, token_ends=token_ends)
    facts.unknown.extend(samples.unreadable)
    made = fill(
        "run.html.j2",
        facts=facts,
        pictures=list(pictures(facts)),
        samples=samples,
        data=script_json({"trees": samples.trees, "rows": [list_row(tree) for tree in samples.trees]}),
        style=browser_file("browser.css"),
        script=browser_file("browser.js"),
        made=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
    )
    return made.encode("utf-8", errors="replace")


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character, escape in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(character, escape)
    return text


def write_report(run: RunDir, *, token_ends: TokenEnds | None = None) -> str:
    """Puts report.html into the run directory; returns where. Raises StorageError."""
    run.location.put(NAME, make_report(run, token_ends=token_ends))
    return run.location.show(NAME)
