"""The last step of a lease: its shards written, unless somebody else's count already.

tables ─► commit ─► True: written      False: too late; another attempt, or another site, was first
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from berry.pipeline.stages.rollout.journal import LeaseJournal
from berry.pipeline.storage import claims, shards
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.shards import Rows

YOUNG_S = 10.0  # nobody takes a lease over that is younger, so nobody needs to be asked


async def commit(
    location: Location,
    *,
    round_index: int,
    lease: int,
    token: str | None,
    age_s: float,
    journal: LeaseJournal,
    tables: Mapping[str, Rows],
    metadata: Mapping[str, str],
) -> bool:
    """`token`: of the site that claimed the lease, where several share the run. Raises StorageError."""

    def write() -> bool:
        if token is not None:
            files = shards.encoded(round_index=round_index, lease=lease, tables=tables, metadata=metadata)
            return claims.commit(location, round_index=round_index, lease=lease, files=files, token=token)
        if age_s > YOUNG_S and journal.is_overtaken():
            return False
        shards.write(location, round_index=round_index, lease=lease, tables=tables, metadata=metadata)
        return True

    return await asyncio.to_thread(write)
