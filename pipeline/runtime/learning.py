"""Learning between rounds, in a process of its own: it may take gigabytes and hours, and be killed at any time.

driver ─► python -m pipeline.runtime.learning RUN ROUND ─► JSON lines: progress, notes, the error if there is one
                                                   └─► round=N/weights, round=N/learned.json
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from pipeline import errors
from pipeline.errors import BerryError
from pipeline.stages.learning import learn
from pipeline.storage.dataset import RunDir, open_run

_PR_SET_PDEATHSIG = 1


class Display(Protocol):
    def phase(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...


async def run_apart(run: RunDir, round_index: int, display: Display) -> bool:
    """Learns from a round; False when a signal asked to stop. Raises what the learning raised."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pipeline.runtime.learning",
        run.location.show(),
        str(round_index),
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

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    failure: dict[str, str] | None = None
    try:
        assert process.stdout is not None
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
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
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


async def refresh_helpers(actors: Sequence[Any]) -> list[str]:
    """Reward actors take the weights that serve now; what went wrong. Without any nothing of Ray is loaded."""
    if not actors:
        return []
    from pipeline.runtime.rewarding import refresh_all

    return await refresh_all(actors)


def _end_with_parent() -> None:
    """A driver that is killed must not leave a training behind that its successor would run beside."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    _end_with_parent()
    place, round_index = sys.argv[1], int(sys.argv[2])

    def say(**values: Any) -> None:
        sys.__stdout__.write(json.dumps(values) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]

    sys.stdout = sys.stderr  # a library that prints must not break the lines
    try:
        learn(open_run(place), round_index, lambda text, share: say(text=text, share=share))
    except BerryError as error:
        say(error=str(error), kind=type(error).__name__)


if __name__ == "__main__":
    main()
