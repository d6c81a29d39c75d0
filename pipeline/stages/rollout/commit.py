"""Commits a lease: writes its files, unless another result of the same lease counts.

rows of a lease, its commit rule ─► commit ─► True: written      False: another attempt, or another site, was first
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from berry.pipeline.stages.leases.lease import FirstResultCounts, Lease, UnlessReplaced
from berry.pipeline.stages.rollout.journal import LeaseJournal
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import shards
from berry.pipeline.storage.parquet.shards import Rows
from berry.pipeline.storage.run import claims

YOUNG_S = 10.0  # no attempt is given up sooner, so none that is younger can have been replaced


async def commit(
    location: Location,
    lease: Lease,
    *,
    round_index: int,
    age_s: float,
    journal: LeaseJournal,
    tables: Mapping[str, Rows],
    metadata: Mapping[str, str],
) -> bool:
    """Writes the three files of a lease in a thread; False, and nothing is written, where another result counts.
    `age_s`: seconds since this attempt began. Raises StorageError."""

    def write() -> bool:
        match lease.commit_rule:
            case FirstResultCounts(token):
                files = shards.encoded(round_index=round_index, lease=lease.number, tables=tables, metadata=metadata)
                return claims.commit(location, round_index=round_index, lease=lease.number, files=files, token=token)
            case UnlessReplaced():
                if age_s > YOUNG_S and journal.is_replaced():
                    return False
                shards.write(location, round_index=round_index, lease=lease.number, tables=tables, metadata=metadata)
                return True

    return await asyncio.to_thread(write)
