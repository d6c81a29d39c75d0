"""Hands a run to a Ray cluster as a job, which goes on without the one who submitted it.

config ─► job_bundle ─► Ray's job server at the head's dashboard ─► `berry run` there ─► its output, followed here
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import berry
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ResourceError
from berry.pipeline.runtime.cluster.connect import unauthorised
from berry.pipeline.runtime.cluster.job_bundle import pack

POLL_S = 1.0
DONE = ("SUCCEEDED", "FAILED", "STOPPED")
MOST_FAILURES = 10  # in a row, after which the job server counts as gone
ACCEPTED_WITHIN_S = 300.0  # for which a job that nobody follows may take to begin


def submit(
    config: RunConfig,
    *,
    address: str,
    run_dir: str,
    with_code: bool = False,
    env: dict[str, str] | None = None,
    python: str = "python",
) -> tuple[Any, str]:
    """Submits the run; returns the client of the job server and the job's id. `with_code`: this copy of Berry goes
    along and is used before the cluster's own. Raises ConfigError, ResourceError."""
    with tempfile.TemporaryDirectory(prefix="berry-job-") as folder:
        bundle = pack(config, Path(folder), run_dir=run_dir, python=python)
        from ray.exceptions import AuthenticationError

        client = _client(address)
        runtime_env: dict[str, Any] = {"working_dir": folder, "env_vars": env or {}}
        if with_code:
            runtime_env["py_modules"] = [str(Path(berry.__file__).parent)]
        try:
            job = client.submit_job(
                entrypoint=bundle.entrypoint,
                runtime_env=runtime_env,
                metadata={"berry.run": run_dir, "berry.name": config.name},
            )
        except AuthenticationError as error:
            raise unauthorised(address) from error
        except (RuntimeError, ConnectionError, OSError, ValueError) as error:
            raise ResourceError(f"the cluster at {address} did not take the job: {_first_line(error)}") from error
    return client, job


def _client(address: str) -> Any:
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise unauthorised(address) from error
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        raise ResourceError(
            f"no Ray job server at {address}: {_first_line(error)}; --address is that of the head's dashboard, such as "
            "http://HEAD:8265 (with kubectl port-forward: http://127.0.0.1:8265)"
        ) from error


def follow(
    client: Any,
    job: str,
    say: Callable[[str], None],
    *,
    until: str | None = None,
    within_s: float = float("inf"),
) -> str:
    """Passes on what the job writes until it ends, has written `until`, or `within_s` seconds are over; returns how it
    ended, SUCCEEDED, FAILED or STOPPED, or what it does then. Raises ResourceError when the cluster can't be asked any
    more."""
    passed_on = 0
    failures = 0
    deadline = time.monotonic() + within_s
    while True:
        try:
            status = str(client.get_job_status(job).value)
            logs = client.get_job_logs(job)
            failures = 0
        except (RuntimeError, ConnectionError, OSError) as error:
            failures += 1
            if failures > MOST_FAILURES:
                raise ResourceError(
                    f"the job server can't be reached any more ({_first_line(error)}); the job {job} may go on"
                ) from error
            time.sleep(POLL_S)
            continue
        if len(logs) > passed_on:
            say(logs[passed_on:])
            passed_on = len(logs)
        if status in DONE or (until is not None and until in logs) or time.monotonic() > deadline:
            return status
        time.sleep(POLL_S)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
