"""Merges the files of a large round in a process of its own: it holds some hundred megabytes, which the driver would
keep for the rest of the run.

driver ─► python -m …merge_process RUN ROUND ─► merged files; on standard error what is wrong, if something is
"""

from __future__ import annotations

import asyncio
import sys

from berry.pipeline.errors import StorageError
from berry.pipeline.runtime.driver.train_process import end_with_parent, kill_group
from berry.pipeline.stages.dataset.maintenance.compact import compact_round
from berry.pipeline.storage.run.directory import RunDir, open_run

FEW_TOKENS = 1_000_000  # generated in a round: its rows are some ten megabytes, and a process takes a second to start


async def merge_after_round(run: RunDir, round_index: int, *, generated: int) -> None:
    """Merges the files of a round of so many `generated` tokens. Raises StorageError; what was merged stays so."""
    if generated <= FEW_TOKENS:
        await asyncio.to_thread(compact_round, run.location, round_index)
        return
    command = [sys.executable, "-m", "berry.pipeline.runtime.driver.merge_process", run.location.show()]
    process = await asyncio.create_subprocess_exec(
        *command, str(round_index), stderr=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        _, said = await process.communicate()
    except BaseException:
        kill_group(process.pid)
        raise
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise StorageError(lines[-1] if lines else f"the merging ended with status {process.returncode}")


def main() -> None:
    """Merges one round; the driver holds the run's lock."""
    end_with_parent()
    try:
        compact_round(open_run(sys.argv[1]).location, int(sys.argv[2]))
    except StorageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
