"""Says of a merged file which rows are whose: the marks of its leases, packed into its own.

marks of each lease, with its rows ─► merged_marks ─► the file's marks        the file's marks ─► parts ─► [Part, …]
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from berry.pipeline import schema

_PARTS = "parts"
_OF_THE_FILE = frozenset({"lease", "digests", "schema", _PARTS})
_OF_THE_COMMIT = frozenset({"report"})  # said once, by the file that is the commit


@dataclass(frozen=True, slots=True)
class Part:
    """One lease of a file: `rows` of them from row `start`, and what its own file would say of itself."""

    lease: int
    start: int
    rows: int
    marks: dict[str, str]


def without_file_marks(marks: Mapping[str, str]) -> dict[str, str]:
    """What a file says of its lease, without what it says of itself."""
    return {k: v for k, v in marks.items() if k not in ("schema", "digests")}


def merged_marks(table: str, given: Sequence[Part]) -> dict[str, str]:
    """The marks of a file that holds these leases, in order. What all of them say alike is said once."""
    left_out = _OF_THE_FILE if table == schema.COMMIT else _OF_THE_FILE | _OF_THE_COMMIT
    said = [{k: v for k, v in part.marks.items() if k not in left_out} for part in given]
    common = {k: v for k, v in said[0].items() if all(marks.get(k) == v for marks in said)}
    listed = [
        {"lease": part.lease, "rows": part.rows, **{k: v for k, v in marks.items() if k not in common}}
        for part, marks in zip(given, said, strict=True)
    ]
    packed = base64.b64encode(zlib.compress(json.dumps(listed).encode(), 9)).decode()
    return {**common, "lease": f"{given[0].lease}-{given[-1].lease}", _PARTS: packed}


def parts(marks: Mapping[str, str]) -> list[Part] | None:
    """The leases of a merged file, by its marks; None of a file of one lease. Raises ValueError where the marks can't
    be read."""
    if _PARTS not in marks:
        return None
    try:
        listed = json.loads(zlib.decompress(base64.b64decode(marks[_PARTS])))
        common = {k: v for k, v in marks.items() if k != _PARTS}
        found: list[Part] = []
        start = 0
        for one in listed:
            lease, rows = one.pop("lease"), one.pop("rows")
            found.append(Part(lease, start, rows, {**common, **one, "lease": str(lease)}))
            start += rows
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise ValueError(f"the list of its leases can't be read: {error}") from error
    return found
