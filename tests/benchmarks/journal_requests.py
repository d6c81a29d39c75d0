"""What journals ask of an object store: `python -P tests/benchmarks/journal_requests.py`, a worker on the S3 server of
the tests, with a file a lease a flush, with one for all leases, on its own disk, and without a journal.

The synthetic engine is paced, so that leases stay open and are flushed once a second. It prints requests a second from
the first lease to the last commit, journals and commits together, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.build import build
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.segments import BatchWriter
from berry.verifiers.checker import Checker

SERVER = Path(__file__).parents[1] / "s3_server.py"


class Apart(LeaseWorker):
    """Writes a file a lease, as on a disk."""

    def _batch_writer(self) -> BatchWriter | None:
        return None


def configuration(args: argparse.Namespace, journal: str) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "journal",
            "problems": [{"type": "synthetic", "count": args.leases}],
            "engine": {"type": "synthetic", "max_num_seqs": 256, "tokens_per_s": 4},
            "rollout": {"policy": {"type": "fixed", "branching": [4, 2, 2]}, "sampling": {"max_tokens": 256}},
            "storage": {"journal": journal, "lease_problems": 1},
        }
    )


async def requests(args: argparse.Namespace, server: str, *, kind: type[LeaseWorker], journal: str) -> dict[str, Any]:
    config = configuration(args, journal)
    engine = build(config.engine, engine_id="bench")
    await engine.start()
    place = locate(f"s3://bench/{time.time_ns()}")
    place.put("run.yaml", b"")
    async with Checker(config.verification) as checker:
        worker = kind(config, place, engine, checker.check, "w", agree=checker.agree)
        worker.verify_here = checker.check_inline
        httpx.put(f"{server}/-/faults", json={})
        began = time.perf_counter()
        leases = [Lease(number, (problem,)) for number, problem in enumerate(synthetic_problems(args.leases, seed=1))]
        await asyncio.gather(*map(worker.run, leases))
        wall = time.perf_counter() - began
        count = httpx.get(f"{server}/-/faults").json()["requests"]
        await worker.close()
    return {"seconds": round(wall, 1), "requests": count, "requests/s": round(count / wall, 1)}


async def measure(args: argparse.Namespace, server: str, folder: str) -> dict[str, Any]:
    httpx.put(f"{server}/bench").raise_for_status()
    return {
        "a file a lease": await requests(args, server, kind=Apart, journal="run"),
        "one for all leases": await requests(args, server, kind=LeaseWorker, journal="run"),
        "on its own disk": await requests(args, server, kind=LeaseWorker, journal=f"local:{folder}"),
        "off": await requests(args, server, kind=LeaseWorker, journal="off"),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=int, default=16, help="open at once, of a problem each")
    process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    os.environ.update({"AWS_ENDPOINT_URL": address, **keys})
    try:
        with tempfile.TemporaryDirectory() as name:
            print(json.dumps(asyncio.run(measure(parser.parse_args(), address, name)), indent=1))
    finally:
        process.kill()
