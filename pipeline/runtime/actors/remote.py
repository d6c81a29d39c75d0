"""Awaits results of Ray's remote calls, and raises Berry's own errors as they were raised on the other side."""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayTaskError

from berry.pipeline.errors import BerryError


async def expected(reference: Any) -> Any:
    """The result of a remote call. Raises a BerryError that the other side raised as itself, Ray's errors as they
    are."""
    try:
        return await reference
    except RayTaskError as error:
        if isinstance(error.cause, BerryError):
            raise error.cause from None
        raise
