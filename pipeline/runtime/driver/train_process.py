"""Trains between rounds in a process of its own: it may take gigabytes and hours, and be killed at any time.

driver ─► python -m …train_process RUN ROUND --turn N --address A ─► JSON lines: progress, notes, the error if any
       │       │                                               └─► round=N/weights, round=N/learned.json
       │       └─► several processes on Ray (cluster/train_together.py), where the configuration says so; with
       │           --takes T beside the run's actors
       └► python -m …train_process RUN check         before the first round: what training would refuse
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import signal
import sys
from contextlib import nullcontext, suppress
from typing import Any, Protocol

from berry.pipeline import errors
from berry.pipeline.config.sections.cluster import TrainRole
from berry.pipeline.errors import BerryError
from berry.pipeline.garbage import collect_garbage_rarely
from berry.pipeline.runtime.driver.signals import on_stop
from berry.pipeline.runtime.driver.trainers import policy_trainer, reward_trainer
from berry.pipeline.stages.leases.partition import RoundLeases
from berry.pipeline.stages.training.after_round import check_learning, learn
from berry.pipeline.storage.run.directory import RunDir, open_run
from berry.pipeline.storage.run.weights_file import weights_after

_PR_SET_PDEATHSIG = 1  # of prctl(2)


class Notes(Protocol):
    """The part of a display that training needs."""

    def phase(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...


async def train_after_round(
    run: RunDir,
    round_index: int,
    display: Notes,
    leases: RoundLeases,
    *,
    address: str | None = None,
    beside: TrainRole | None = None,
) -> bool:
    """Trains on a round if nobody has, or waits for the site that does; False when a signal asked to stop. `address`:
    of the Ray cluster for what is trained in several processes; None: one is started here. `beside`: what a process may
    take while the next round generates; then it is on Ray wherever `address` is given, and signals are left to that
    round: cancelling ends the training. Raises what the training raised."""
    turn = await leases.turn_at_training(round_index, display.phase)
    if weights_after(run, round_index) is not None:
        return True
    if turn is None:
        return False
    display.phase(f"learning from round {round_index}")
    arguments = [str(round_index)]
    if turn.number is not None:
        arguments += ["--turn", str(turn.number)]
    if address is not None:
        arguments += ["--address", address]
    environment = {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that spin take the cores of sandboxes, of another process
    if beside is not None:  # of what this host has, actors hold the rest
        environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(max(1, round(beside.cpus)))}
        arguments += ["--takes", beside.model_dump_json()] if address is not None else []
    doing = f"learning from round {round_index}"
    return await _run_process(run, arguments, display, doing, environment=environment, stops_on_signal=beside is None)


async def check_before_rounds(run: RunDir, display: Notes) -> bool:
    """Finds out what training would refuse after the first round; False when a signal asked to stop. Raises what it
    would."""
    display.phase("checking that the models can be trained as rounds say")
    return await _run_process(run, ["check"], display, "checking the models of rounds")


async def _run_process(
    run: RunDir,
    arguments: list[str],
    display: Notes,
    doing: str,
    *,
    environment: dict[str, str] | None = None,
    stops_on_signal: bool = True,
) -> bool:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "berry.pipeline.runtime.driver.train_process",
        run.location.show(),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        display.note("stopping; the training goes on from its last checkpoint in the next run")
        kill_group(process.pid)

    failure: dict[str, str] | None = None
    try:
        assert process.stdout is not None
        with on_stop(stop) if stops_on_signal else nullcontext():
            async for line in process.stdout:
                message: dict[str, Any] = json.loads(line)
                if "error" in message:
                    failure = message
                elif message["text"].startswith("note: "):
                    display.note(message["text"])
                else:
                    display.phase(message["text"])
            code = await process.wait()
    except BaseException:
        kill_group(process.pid)
        raise
    if stopped:
        return False
    if failure is not None:
        raise getattr(errors, failure["kind"], BerryError)(failure["error"])
    if code != 0:
        raise errors.EngineError(
            f"{doing} ended with status {code} (killed for memory?); run again to go on from its last checkpoint"
        )
    return True


def kill_group(process: int) -> None:
    """Kills a process that leads a session of its own, and all it started."""
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


# ---- inside the process ---------------------------------------------------------------------------------------------


def main() -> None:
    """Trains on one round, or checks, and writes what goes on as JSON lines to standard output."""
    end_with_parent()
    collect_garbage_rarely()
    parser = argparse.ArgumentParser(description="Trains between rounds; started by `berry run`.")
    parser.add_argument("run", help="run directory or URL")
    parser.add_argument("what", help="number of the round, or check")
    parser.add_argument("--turn", type=int, help="of this site, among several")
    parser.add_argument("--address", help="of the Ray cluster for what is trained in several processes")
    parser.add_argument("--takes", help="what a process takes of it, as JSON, beside the run's actors")
    asked = parser.parse_args()
    run = open_run(asked.run)

    def say(**values: Any) -> None:
        sys.__stdout__.write(json.dumps(values) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]

    sys.stdout = sys.stderr  # a library that prints must not break the lines
    try:
        if asked.what == "check":
            check_learning(run)
        else:
            takes = None if asked.takes is None else TrainRole.model_validate_json(asked.takes)
            learn(
                run,
                int(asked.what),
                lambda text, share: say(text=text, share=share),
                turn=asked.turn,
                policy=policy_trainer(run, asked.address, takes),
                reward=reward_trainer(run, asked.address, takes),
            )
    except BerryError as error:
        say(error=str(error), kind=type(error).__name__)


def end_with_parent() -> None:
    """Has the kernel kill this process with the driver, whose successor would train beside it."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
