"""The report in a real Chromium: opens, searches, folds, clicks a token, compares siblings, with no console error."""

from __future__ import annotations

import math
import re
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from berry.pipeline.report import pages
from berry.pipeline.report.page.page import make_report
from berry.pipeline.storage.run.directory import open_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.slow


def by_characters(token_ids: Sequence[int], text: str) -> list[int]:
    """Ends of tokens of equal length, for an engine whose tokens are no text of a tokenizer's."""
    return [math.ceil(len(text) * (i + 1) / len(token_ids)) for i in range(len(token_ids))]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, make_run: Any) -> str:
    folder = tmp_path_factory.mktemp("report")
    raw = {
        "problems": [{"type": "synthetic", "count": 12, "seed": 3}],
        "engine": {"type": "synthetic"},
        "rollout": {
            "policy": {"type": "fixed", "branching": [3, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
        },
    }
    make_run(folder, raw)
    page = folder / "report.html"
    page.write_bytes(make_report(open_run(str(folder / "run")), token_ends=by_characters))
    return page.as_uri()


@pytest.fixture
def opened(chromium: Chrome, report: str) -> Chrome:
    chromium.get("about:blank")
    chromium.set_window_size(1280, 900)
    chromium.get(report)
    assert found(chromium, ".node")
    return chromium


def found(driver: Chrome, selector: str) -> list[WebElement]:
    return driver.find_elements("css selector", selector)


def click(driver: Chrome, element: WebElement, *, shift: bool = False) -> None:
    script = "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true, shiftKey: arguments[1]}))"
    driver.execute_script(script, element, shift)


def errors(driver: Chrome) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_it_opens_on_a_tree_and_searches(opened: Chrome):
    problems = found(opened, ".problems button")
    assert len(problems) == 12
    assert found(opened, ".detail h3")[0].text.startswith("root")
    names = [problem.get_attribute("data-problem") or "" for problem in problems]
    wanted = names[-1]
    found(opened, "input[type=search]")[0].send_keys(wanted)
    opened.execute_async_script("setTimeout(arguments[0], 600)")
    assert [b.get_attribute("data-problem") for b in found(opened, ".problems button")] == [
        p for p in names if wanted in p
    ]
    click(opened, found(opened, ".problems button")[0])
    opened.execute_async_script("setTimeout(arguments[0], 200)")
    assert found(opened, ".problem-heading")[0].text.startswith(wanted)
    assert errors(opened) == []


def test_it_folds_and_moves_by_keys(opened: Chrome):
    before = len(found(opened, ".node"))
    stage = found(opened, ".tree")[0]
    stage.send_keys("\ue014")  # right: the first child
    assert not found(opened, ".detail h3")[0].text.startswith("root")
    stage.send_keys("\ue012")  # left: back to the root
    stage.send_keys(" ")
    assert len(found(opened, ".node")) == 1 < before
    stage.send_keys(" ")
    assert len(found(opened, ".node")) == before
    assert errors(opened) == []


def test_a_token_tells_its_log_probability(opened: Chrome):
    click(opened, found(opened, ".node")[-1])
    tokens = found(opened, ".detail span.token")
    if not tokens:  # the last drawn is the root
        click(opened, found(opened, ".node")[0])
        tokens = found(opened, ".detail span.token")
    click(opened, tokens[0])
    told = found(opened, ".picked-token")[0].text
    assert told.startswith("token 1:")
    assert "log-probability" in told
    assert "p = " in told
    assert errors(opened) == []


def test_a_leaf_has_the_labels_of_its_steps_with_their_evidence(opened: Chrome):
    click(opened, found(opened, ".node")[0])  # leaves are drawn before what they lie below
    rows = found(opened, ".detail .steps tbody tr")
    assert len(rows) >= 2
    for row in rows:
        step, value, interval, evidence, _ = (cell.text for cell in row.find_elements("css selector", "td"))
        assert step
        assert 0 <= float(value) <= 1
        assert re.fullmatch(r"\d\.\d\d to \d\.\d\d", interval)
        assert re.fullmatch(r"\d+ independent continuations?, estimate", evidence)
    assert errors(opened) == []


def test_two_siblings_stand_side_by_side(opened: Chrome):
    first, second = found(opened, ".node")[:2]
    click(opened, first)
    click(opened, second, shift=True)
    details = found(opened, ".detail")
    assert len(details) == 2
    assert details[0].location["y"] == details[1].location["y"]
    assert errors(opened) == []


def test_a_link_leads_to_its_node(opened: Chrome, report: str):
    click(opened, found(opened, ".node")[0])
    link, told = opened.current_url, found(opened, ".detail h3")[0].text
    opened.get("about:blank")
    opened.get(link)
    opened.execute_async_script("setTimeout(arguments[0], 300)")
    assert found(opened, ".detail h3")[0].text == told
    assert "node=" in link
    assert errors(opened) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(opened: Chrome, width: int):
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    opened.refresh()
    opened.execute_async_script("setTimeout(arguments[0], 300)")
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert errors(opened) == []


def test_token_ends_are_those_of_the_text():
    assert by_characters(array("i", [1, 2, 3]), "abcdef") == [2, 4, 6]
    assert pages.browser_file("browser.js").startswith("//")


def test_results_of_tools_have_a_colour_and_say_how_the_call_went(
    chromium: Chrome, tmp_path_factory: pytest.TempPathFactory, make_run: Any
):
    folder = tmp_path_factory.mktemp("tools")
    raw = {
        "problems": [{"type": "synthetic", "count": 2, "seed": 3, "steps": [3, 4]}],
        "engine": {"type": "synthetic", "call_share": 0.8},
        "rollout": {
            "policy": {"type": "fixed", "branching": [2, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n\n"]},
            "tools": [{"type": "python"}],
        },
    }
    make_run(folder, raw)
    page = folder / "report.html"
    page.write_bytes(make_report(open_run(str(folder / "run")), token_ends=by_characters))
    chromium.get(page.as_uri())
    given = found(chromium, ".node.given")
    assert given
    assert {bar.get_attribute("fill") for bar in found(chromium, ".node.given rect")} == {"#CC79A7"}
    assert "a tool's result" in found(chromium, ".legend")[0].text
    click(chromium, given[0])
    told = found(chromium, ".detail")[0].text
    assert "the tool; none of it was sampled" in told
    assert "ok, " in told
    assert "log-probability" not in told
    assert not [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
