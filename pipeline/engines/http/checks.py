"""Looks whether the servers of a configuration can do what it asks of them, before anything is started.

    HttpEngine ─► GET /v1/models (and /health, /get_model_info, /tokenize) of each ─► Served …, or one line a fault

All servers are asked at once. What a server does not tell is not held against it.
"""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from berry.pipeline.config.sections.engine import HttpEngine
from berry.pipeline.engines.http.servers import root_of
from berry.pipeline.engines.http.sglang import UNNAMED_VERSION
from berry.pipeline.errors import BerryError, ConfigError, EngineError

LOOK_TIMEOUT_S = 20.0
NAMED = 8  # models that a message names
PROBE_TEXT = "Let x = 12.5; then 3x - 7 = 30.5?\n\nDonc, 2 × 3 ≠ 5 – voilà."
"""What tokenizers are compared on: digits, signs, white space and letters on which they differ."""
_REFUSED = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says of the model: its longest context in tokens and the version of its weights; None and empty
    where it does not say."""

    url: str
    context: int | None = None
    weights_version: str = ""


def client_for(config: HttpEngine, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Connections to the servers, with the key. Raises ConfigError where the key's variable is not set."""
    headers = {}
    if config.api_key_env is not None:
        key = os.environ.get(config.api_key_env)
        if not key:
            raise ConfigError(f"engine.api_key_env: the environment variable {config.api_key_env} is not set")
        headers["Authorization"] = f"Bearer {key}"
    return httpx.AsyncClient(
        headers=headers,
        transport=transport,
        timeout=httpx.Timeout(config.timeout_s, connect=LOOK_TIMEOUT_S),
        limits=httpx.Limits(
            max_connections=None, max_keepalive_connections=config.max_num_seqs * len(config.server_urls)
        ),
    )


def preflight(config: HttpEngine) -> None:
    """Raises ConfigError or EngineError with a line for each server that can't do what is asked."""

    async def look() -> None:
        async with client_for(config) as client:
            await look_at_all(client, config)

    asyncio.run(look())


async def look_at_all(client: httpx.AsyncClient, config: HttpEngine) -> list[Served]:
    """What each server says, in order. Raises as `preflight` does."""
    looks = (look_at(client, config, url) for url in config.server_urls)
    found = await asyncio.gather(*looks, return_exceptions=True)
    faults = [one for one in found if isinstance(one, BaseException)]
    for fault in faults:
        if not isinstance(fault, BerryError):
            raise fault
    if faults:
        kind = type(faults[0]) if len({type(fault) for fault in faults}) == 1 else ConfigError
        raise kind("\n".join(str(fault) for fault in faults))
    served = [one for one in found if isinstance(one, Served)]
    _same("context lengths", {one.url: one.context for one in served if one.context is not None})
    _same("versions of the weights", {one.url: one.weights_version for one in served if one.weights_version})
    return served


def _same(what: str, by_url: dict[str, object]) -> None:
    """Raises ConfigError where servers of one engine differ."""
    if len(set(by_url.values())) > 1:
        told = ", ".join(f"{value} at {url}" for url, value in by_url.items())
        raise ConfigError(f"the servers of engine.urls have different {what}: {told}; let all serve the same model")


async def look_at(client: httpx.AsyncClient, config: HttpEngine, url: str) -> Served:
    """What one server says. Raises ConfigError where it can't do what is asked, EngineError where it does not
    answer."""
    root = root_of(url)
    try:
        reply = await client.get(f"{url.rstrip('/') if config.dialect == 'chat' else root + '/v1'}/models", timeout=20)
        if reply.status_code in _REFUSED:
            raise ConfigError(_refusal(config, url, reply.status_code))
        if config.dialect == "chat" and reply.status_code == httpx.codes.NOT_FOUND:
            return Served(url)  # not every hosted API lists its models
        reply.raise_for_status()
        models = {str(row["id"]): row for row in reply.json()["data"]}
        health = None if config.dialect == "chat" else await client.get(f"{root}/health", timeout=LOOK_TIMEOUT_S)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"no {config.dialect} server answers at {url} (engine.url): {error or type(error).__name__}"
        ) from error
    if health is not None and health.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise EngineError(f"the server at {url} (engine.url) says that it is not well: {health.status_code} of /health")
    if config.model not in models:
        raise ConfigError(f"engine.model {config.model!r} is not served at {url}; served: {_named(config, models)}")
    longest = models[config.model].get("max_model_len")
    if longest is not None and config.max_model_len > longest:
        raise ConfigError(
            f"engine.max_model_len {config.max_model_len} is more than that of the server at {url}: "
            f"set it to at most {longest}"
        )
    version = await _weights_version(client, root) if config.dialect == "sglang" else ""
    return Served(url, longest, version)


def _refusal(config: HttpEngine, url: str, status: int) -> str:
    if config.api_key_env is None:
        return f"the server at {url} wants a key ({status}): name the variable that holds it as engine.api_key_env"
    return f"the server at {url} refuses the key in {config.api_key_env} ({status}): engine.api_key_env"


def _named(config: HttpEngine, models: dict[str, dict[str, object]]) -> str:
    """The models that a server has, the likest first where there are many."""
    names = sorted(models)
    if len(names) > NAMED:
        like = difflib.get_close_matches(config.model, names, n=NAMED, cutoff=0.0)
        return f"{', '.join(like)} and {len(names) - len(like)} more"
    return ", ".join(names) or "nothing"


async def _weights_version(client: httpx.AsyncClient, root: str) -> str:
    for path in ("/get_model_info", "/model_info"):  # the second is the newer name
        try:
            reply = await client.get(root + path, timeout=LOOK_TIMEOUT_S)
            version = reply.json().get("weight_version") if reply.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, ValueError, AttributeError):
            continue
        if version and version != UNNAMED_VERSION:
            return str(version)
    return ""


async def check_tokenizer(
    client: httpx.AsyncClient, config: HttpEngine, encode: Callable[[str], Sequence[int]]
) -> None:
    """Raises ConfigError where a server turns a text into other token ids than the tokenizer here; servers without
    `/tokenize` are not asked."""

    async def look(url: str) -> str | None:
        body = {"model": config.model, "prompt": PROBE_TEXT, "add_special_tokens": False}
        try:
            reply = await client.post(f"{root_of(url)}/tokenize", json=body, timeout=LOOK_TIMEOUT_S)
            theirs = reply.json()["tokens"] if reply.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            theirs = None
        return url if theirs is not None and list(theirs) != ours else None

    ours = list(encode(PROBE_TEXT))
    wrong = [url for url in await asyncio.gather(*map(look, config.server_urls)) if url is not None]
    if wrong:
        raise ConfigError(
            f"engine.tokenizer {config.tokenizer or config.model!r} gives other token ids than the server at "
            f"{', '.join(wrong)}: name the tokenizer of the model that is served"
        )
