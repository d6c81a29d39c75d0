"""Learning between rounds, in a process of its own: it may take gigabytes and hours, and be killed at any time.

driver ─► python -m …train_process RUN ROUND [TURN] ─► JSON lines: progress, notes, the error if there is one
                                                   └─► round=N/weights, round=N/learned.json
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, Protocol

from berry.pipeline import errors
from berry.pipeline.errors import BerryError
from berry.pipeline.runtime.driver.lease_claims import turn_at_learning
from berry.pipeline.runtime.driver.signals import on_stop
from berry.pipeline.stages.training.after_round import learn
from berry.pipeline.storage.dataset import RunDir, open_run
from berry.pipeline.storage.heartbeat import Presence
from berry.pipeline.storage.weights_file import weights_after

_PR_SET_PDEATHSIG = 1


class Display(Protocol):
    def phase(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...


async def learn_apart(run: RunDir, round_index: int, display: Display, presence: Presence | None) -> bool:
    """Learns from a round if nobody has, or waits for the site that does; False when a signal asked to stop. Raises
    what the learning raised."""
    turn = None if presence is None else await turn_at_learning(run, presence, round_index, display.phase)
    if weights_after(run, round_index) is not None:
        return True
    if presence is not None and turn is None:
        return False
    display.phase(f"learning from round {round_index}")
    return await _run_apart(run, round_index, display, turn)


async def _run_apart(run: RunDir, round_index: int, display: Display, turn: int | None) -> bool:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "berry.pipeline.runtime.driver.train_process",
        run.location.show(),
        str(round_index),
        *([] if turn is None else [str(turn)]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        display.note("stopping; the training goes on from its last checkpoint in the next run")
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    failure: dict[str, str] | None = None
    try:
        assert process.stdout is not None
        with on_stop(stop):
            async for line in process.stdout:
                said: dict[str, Any] = json.loads(line)
                if "error" in said:
                    failure = said
                elif said["text"].startswith("note: "):
                    display.note(said["text"])
                else:
                    display.phase(said["text"])
            code = await process.wait()
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    if stopped:
        return False
    if failure is not None:
        raise getattr(errors, failure["kind"], BerryError)(failure["error"])
    if code != 0:
        raise errors.EngineError(
            f"learning from round {round_index} ended with status {code} (killed for memory?); run again to go on from "
            "its last checkpoint"
        )
    return True


def _end_with_parent() -> None:
    """A driver that is killed must not leave a training behind that its successor would run beside."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    _end_with_parent()
    place, round_index = sys.argv[1], int(sys.argv[2])
    turn = int(sys.argv[3]) if len(sys.argv) > 3 else None

    def say(**values: Any) -> None:
        sys.__stdout__.write(json.dumps(values) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]

    sys.stdout = sys.stderr  # a library that prints must not break the lines
    try:
        learn(open_run(place), round_index, lambda text, share: say(text=text, share=share), turn=turn)
    except BerryError as error:
        say(error=str(error), kind=type(error).__name__)


if __name__ == "__main__":
    main()
