"""How `berry view` bears a large run: `python -P tests/benchmarks/view.py --rounds 5`.

    a run of the synthetic engine ─► (--rounds N) its files again as further rounds ─► `berry view` ─► headless Chromium

Told are, in seconds: from the command to its address; from the address to the first contentful paint, to a list of
problems and to a drawn tree in the browser; until all of the run has been looked through; the answers to a search and
to trees of problems drawn at random, median and most; and the memory of the server's process in MiB. `--run` keeps the
run in that folder and takes it from there the next time. Needs Debian's chromium and chromium-driver.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

import berry
from berry.pipeline.report.view.index import PAGE

MIB = 1 << 20
TREES = 40  # opened after everything has been looked through


def make(folder: Path, problems: int, leases: int) -> None:
    """A run of trees with four leaves, by one worker in this process."""
    config: dict[str, Any] = {
        "name": "large",
        "problems": [{"type": "synthetic", "count": problems, "seed": 3, "steps": [2, 3]}],
        "engine": {"type": "synthetic"},
        "rollout": {"policy": {"type": "fixed", "branching": [2, 2]}},
        "report": False,
        "storage": {"lease_problems": leases},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(config, file)  # JSON is YAML
        file.flush()
        berry.run(file.name, place=str(folder), local=True)


def more_rounds(folder: Path, rounds: int) -> None:
    """The files of round 0 under the names of further rounds, as links: of them no byte is written again."""
    for number in range(1, rounds):
        if not (folder / f"round={number}").exists():
            shutil.copytree(folder / "round=0", folder / f"round={number}", copy_function=os.link)


def chromium() -> Any:
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    return Chrome(options=options, service=ChromeService(executable_path=shutil.which("chromedriver") or ""))


def in_browser(driver: Any, address: str) -> dict[str, float]:
    """Opens the address; seconds from there to what is seen."""
    began = time.monotonic()
    driver.get(address)
    seen: dict[str, float] = {}
    for name, selector in (("list of problems", ".problems button"), ("a drawn tree", ".node")):
        while not driver.find_elements("css selector", selector):
            time.sleep(0.01)
        seen[name] = time.monotonic() - began
    paint = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
    return {"first contentful paint": driver.execute_script(paint) / 1000, **seen}


def timed(client: httpx.Client, path: str, **query: Any) -> tuple[float, Any]:
    began = time.monotonic()
    answer = client.get(path, params=query).raise_for_status()
    return time.monotonic() - began, answer.json()


def spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.3f} s in the median, {max(seconds):.3f} s at most"


def measure(folder: Path) -> None:
    driver = chromium()
    driver.get("about:blank")  # its own start is none of the page's time
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "berry", "view", str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        print(f"from the command to its address   {time.monotonic() - began:.2f} s")
        for name, seconds in in_browser(driver, address).items():
            print(f"{name:32}  {seconds:.2f} s after the address was opened")
        print(f"                                  {time.monotonic() - began:.2f} s after the command")
        server = psutil.Process(process.pid)
        base, _, token = address.partition("/?token=")
        with httpx.Client(base_url=base, params={"token": token}, timeout=600) as client:
            while (told := client.get("/api/list").json())["read"] < told["of"]:
                time.sleep(0.2)
            through_s = time.monotonic() - began
            print(f"all looked through                {through_s:.1f} s after the command, {told['total']:,} trees")
            print(f"server's memory                   {server.memory_info().rss / MIB:,.0f} MiB")
            searches = [timed(client, "/api/list", text=text)[0] for text in ("77", "3-12", "99999", "none")]
            print(f"search                            {spread(searches)}")
            filters = [timed(client, "/api/list", state=state)[0] for state in ("solved", "unsolved", "mixed", "kept")]
            print(f"filter                            {spread(filters)}")
            draws, rows = random.Random(1), []
            while len(rows) < TREES:
                offset = draws.randrange(max(1, told["total"] - PAGE))
                rows.append(timed(client, "/api/list", offset=offset)[1]["rows"][0])
            trees = [timed(client, "/api/tree", problem=row["problem"], round=row["round"])[0] for row in rows]
            print(f"a tree                            {spread(trees)}")
            print(f"server's memory at the end        {server.memory_info().rss / MIB:,.0f} MiB")
    finally:
        process.kill()
        process.wait()
        driver.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=20_000, help="trees a round (default: 20,000)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of them (default: 1)")
    parser.add_argument("--lease", type=int, default=256, help="problems a lease (default: 256)")
    parser.add_argument("--run", type=Path, help="folder of the run, kept (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = args.run or Path(temporary) / "run"
        if not folder.exists():
            began = time.monotonic()
            make(folder, args.problems, args.lease)
            print(f"made in {time.monotonic() - began:.0f} s", file=sys.stderr)
        more_rounds(folder, args.rounds)
        measure(folder)


if __name__ == "__main__":
    main()
