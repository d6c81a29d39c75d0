"""What a driver reads before it goes on with a run: `python -P tests/benchmarks/resume.py --leases 200000`.

Makes a run's committed files (hard links of empty tables, and a commit file a lease that differs in its report), the
manifests that its driver would have left, and times what the next driver does before it hands out: listings, totals.
`--late` leases were committed after the last manifest. With `--url s3://bucket/run` the files lie on a store;
With `--problems` the problem file of as many is made too, surveyed, and passed over to the last lease.
`--delay 0.03` waits in this process before each request of a file, for a store that answers faster than real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from berry.pipeline import schema
from berry.pipeline.config.run import RunConfig
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.leases.recall import survey_or_recall
from berry.pipeline.stages.leases.reports import BLOCK, ManifestWriter, read_reports
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.parquet import shard_files, shards

DROPS = {"wrong": 6_000, "duplicate": 900, "over_quota": 8_000, "unverifiable": 4, "truncated": 96}
SPENT = TokenLedger(prompt=1_600, generated=16_000_000, kept=900_000, extra={"segments": 16_000, "pruned.wrong": 9_000})


def report_of(lease: int) -> LeaseReport:
    return LeaseReport(lease, "rollout-417", 8, 7, 16_000, 1_000, DROPS, SPENT, 412.7)


def commit_file(lease: int, template: list[bytes]) -> bytes:
    """The template with another number: JSON allows the spaces that keep its length."""
    return template[0] + f"{lease:12d}".encode() + template[1]


def template() -> list[bytes]:
    report = json.dumps(asdict(report_of(0))).replace('"lease": 0', f'"lease": {0:12d}')
    tables: dict[str, list[dict[str, object]]] = {table: [] for table in schema.TABLES}
    files = shards.encoded(round_index=0, lease=0, tables=tables, metadata={"report": report})
    before, _, after = bytes(files[schema.COMMIT]).partition(f"{0:12d}".encode())
    return [before, after]


def make(location: Location, leases: int) -> None:
    parts = template()
    if not location.is_local:
        with ThreadPoolExecutor(16) as pool:
            list(
                pool.map(
                    lambda n: location.put(shard_files.shard_name(schema.COMMIT, n, 0), commit_file(n, parts)),
                    range(leases),
                )
            )
        return
    for table in schema.TABLES:
        folder = Path(location.path(f"round=0/{table}"))
        folder.mkdir(parents=True)
        first = folder / "shard-000000.parquet"
        for lease in range(leases):
            name = folder / shard_files.ShardFile(lease, lease).base_name
            if table == schema.COMMIT:
                name.write_bytes(commit_file(lease, parts))
            elif lease % 50_000 == 0:  # a file has no more than 65,000 names
                first = name
                first.write_bytes(b"")
            else:
                os.link(first, name)


def timed(name: str, work: Callable[[], object], found: dict[str, float]) -> None:
    began, spent = time.perf_counter(), time.process_time()
    work()
    found[name] = round(time.perf_counter() - began, 2)
    found[f"{name}, CPU"] = round(time.process_time() - spent, 2)


def add_up(location: Location, leases: int) -> None:
    kept = count = 0
    for report in read_reports(location, 0):
        kept, count = kept + report.kept, count + 1
    assert (count, kept) == (leases, 1_000 * leases)


def measure(location: Location, leases: int, late: int, delay_s: float) -> dict[str, float]:
    found: dict[str, float] = {}
    timed("making the files, s", lambda: make(location, leases), found)
    if delay_s:
        slow_down(delay_s)
    few = min(leases, 4_000)
    read_few = partial(read_reports, location, 0, committed=range(few))
    timed(f"totals from footers of {few} leases, s", lambda: list(read_few()), found)
    writer = ManifestWriter(location, 0)
    for lease in range(leases - late):
        writer.add(report_of(lease))
    timed("writing the manifests, s", writer.write, found)
    timed("what is committed, s", lambda: shard_files.committed(location, 0), found)
    timed("what no commit covers, s", lambda: shard_files.remove_uncommitted(location, 0), found)
    timed("totals with manifests, s", lambda: add_up(location, leases), found)
    found["manifests"] = -(-(leases - late) // BLOCK)
    found["memory at most, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return found


def problem_file(path: str, count: int) -> None:
    """Problems of 300 bytes a line."""
    with Path(path).open("w") as stream:
        for i in range(count):
            prompt = f"What is {i} + {i * 7}? " + "Think step by step. " * 10
            row = {"id": f"p-{i:08d}", "prompt": prompt, "verifier": {"type": "math", "answer": str(i * 8)}}
            stream.write(json.dumps(row) + "\n")


def problems_again(path: str, count: int) -> dict[str, float]:
    """What reading problems costs a driver that resumes at the last lease: of all of them before it begins, and of
    those of committed leases, unread and, as where screening left some out, read."""
    found: dict[str, float] = {}
    config = RunConfig.model_validate(
        {"name": "run", "engine": {"type": "synthetic"}, "problems": [{"type": "file", "path": path}]}
    )
    sources, size = config.problems, 8
    last = -(-count // size) - 1
    place = locate(f"{path}.run")

    def first_start() -> None:
        for name, data in survey_or_recall(place, config, None)[1].items():
            place.put(name, data)

    timed("problems surveyed, s", first_start, found)
    timed("problems recalled, s", lambda: survey_or_recall(place, config, None), found)
    for name, times in (("passed over, s", 1), ("passed over where each is read, s", None)):
        timed(name, lambda times=times: list(iter_leases(sources, size=size, skip=range(last), times=times)), found)
    return found


def slow_down(delay_s: float) -> None:
    read = Location.read

    def slow(self: Location, name: str, using: Callable[[object], object]) -> object:
        time.sleep(delay_s)
        return read(self, name, using)  # pyright: ignore[reportArgumentType]

    Location.read = slow  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=int, default=200_000)
    parser.add_argument("--late", type=int, default=100)
    parser.add_argument("--problems", type=int, default=0)
    parser.add_argument("--url")
    parser.add_argument("--delay", type=float, default=0.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = locate(chosen.url or f"{name}/run")
        found = measure(place, chosen.leases, chosen.late, chosen.delay) if chosen.leases else {}
        if chosen.problems:
            problem_file(f"{name}/problems.jsonl", chosen.problems)
            found |= problems_again(f"{name}/problems.jsonl", chosen.problems)
        print(json.dumps(found, indent=1))
