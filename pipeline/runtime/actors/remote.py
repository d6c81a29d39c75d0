"""remote: written by the move."""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayTaskError

from berry.pipeline.errors import BerryError


async def expected(reference: Any) -> Any:
    """Awaits a remote result; an error of ours that crossed the wire comes out as itself."""
    try:
        return await reference
    except RayTaskError as error:
        if isinstance(error.cause, BerryError):
            raise error.cause from None
        raise
