"""Finds where the journals of a run lie on this host, where `storage.journal` is a folder of each worker's own disk.

    local:/scratch ─► /scratch/demo-5d0c…/round=0/journal/lease-000007/001-000003

The folder's name follows from the run directory and from when its run.yaml was written, so that nothing is taken from a
run that had the same name before.
"""

from __future__ import annotations

import json
from hashlib import blake2b

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run import segments

PREFIX = "local:"


def local_journals(run: Location, where: str) -> Location:
    """The folder of this host for a run's journals, `where` as storage.journal says it. Removes from it the journals of
    leases that were committed elsewhere meanwhile. Raises StorageError where it can't be written."""
    made_of = json.dumps([run.url.rstrip("/"), run.stamp("run.yaml")]).encode()
    name = run.root.rpartition("/")[2]
    place = locate(f"{where.removeprefix(PREFIX).rstrip('/')}/{name}-{blake2b(made_of, digest_size=6).hexdigest()}")
    try:
        place.put(".probe", b"", durable=False)
        place.remove(".probe")
    except StorageError as error:
        raise StorageError(f"storage.journal {where}: {error}; name a folder that this host can write") from error
    for of_round in (name for name in place.folders() if name.startswith("round=")):
        index = int(of_round.removeprefix("round="))
        for folder in place.folders(f"{of_round}/journal"):
            if shard_files.has_own_commit(run, int(folder.removeprefix("lease-")), index):
                segments.remove(place, f"{of_round}/journal/{folder}")
    return place
