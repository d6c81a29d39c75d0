"""Refuses an engine that draws tokens otherwise than those that a run has had.

engine's info ─► engines/MODEL.json, written by the run's first ─► the same runner and sampler: it may join

vLLM has several model runners and several ways to draw a token from logits; which it takes follows from device, model,
release and settings. They differ in the last digits of log-probabilities and in what a seed draws. In one run they
would be mixed unseen: on nodes of two kinds, or where a run is resumed under another release.
"""

from __future__ import annotations

import asyncio
import json
import re

from berry.pipeline.engines.base import Engine, EngineInfo
from berry.pipeline.errors import EngineError, StorageError
from berry.pipeline.storage.files import Location

FOLDER = "engines"
PARTS = ("runner", "sampler")


async def join_run(location: Location, engine: Engine) -> None:
    """`refuse_mixture` of an engine that has started; one that is refused is ended."""
    try:
        await asyncio.to_thread(refuse_mixture, location, engine.info)
    except BaseException:
        await engine.close()
        raise


def refuse_mixture(location: Location, info: EngineInfo) -> None:
    """Notes with which parts this model's tokens are drawn in the run at `location`, for the first engine that says so.
    Raises EngineError for one that has others, StorageError where the note can't be read or written."""
    own = {part: info.versions[part] for part in PARTS if part in info.versions}
    if not own:
        return
    name = f"{FOLDER}/{re.sub(r'[^A-Za-z0-9.-]+', '_', info.model)}.json"
    if location.create(name, json.dumps(own, indent=1).encode()):
        return
    try:
        first = json.loads(location.get(name) or b"{}")
    except ValueError as error:
        raise StorageError(f"{location.show(name)} is damaged ({error}): remove it") from error
    others = [part for part, value in own.items() if first.get(part, value) != value]
    if others:
        told = ", ".join(f"{part} {own[part]} (the run has {first[part]})" for part in others)
        raise EngineError(
            f"{info.engine_id} draws tokens otherwise than this run's other engines: {told}. Give all engines the same "
            f"GPUs, vLLM release and engine.* settings; or begin another run (--run NAME); or, to mix them knowingly, "
            f"remove {location.show(name)}"
        )
