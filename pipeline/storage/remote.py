"""Opens object stores: a URL becomes a filesystem, what failed is tried again, files are created where nothing is.

URL ─► open_url ─► pyarrow's own filesystem (s3, gs, abfs, hdfs), else fsspec's
patiently(operation) ─► its result; a store that is busy or fails is asked again, a refusal is said at once
outages_told ─► a store that stays away, and comes back, is told
create ─► True, or False where something is: through fsspec (on S3 a PUT with If-None-Match); pyarrow has no such call

S3 takes its endpoint, region and credentials from AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID … or the profile, as
every AWS tool does; s3://bucket/run?endpoint_override=host:9000&scheme=http says the first two in the URL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from berry.pipeline.errors import StorageError

T = TypeVar("T")
TRIES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # waits between tries: a store may be gone for a minute
TOLD_AFTER_TRIES = 3  # that failed, some seconds after the first: single errors are no news
REQUEST_S = 30.0
CONNECT_S = 5.0
_S3_QUERY = {"region", "scheme", "endpoint_override"}
_DENIED = ("access_denied", "accessdenied", "forbidden", "invalid_access_key", "signature", "credentials", "http 403")
_NO_BUCKET = ("no_such_bucket", "nosuchbucket", "bucket does not exist", "the specified bucket")
_UNREACHABLE = ("network_connection", "could not connect", "connect to endpoint", "couldn't connect", "resolve host")


def open_url(url: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem and the path in it, without a slash at its end. Raises StorageError for a URL that no filesystem
    here understands, and for one with a password in it."""
    parts = urlsplit(url)
    if parts.password:
        raise StorageError(
            f"{parts.scheme}://…@{parts.hostname}: a URL is stored and shown, so it must hold no password; set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the like of your store) instead"
        )
    try:
        if parts.scheme == "s3":
            return _s3(url), (parts.netloc + parts.path).rstrip("/")
        try:
            filesystem, root = pafs.FileSystem.from_uri(url)
        except pa.ArrowInvalid:
            filesystem, root = _fsspec(url)
        return filesystem, root.rstrip("/")
    except (pa.ArrowException, OSError, ValueError, ImportError) as error:
        raise StorageError(f"{url}: not a location that can be opened: {explain(error)}") from error


def _s3(url: str) -> pafs.FileSystem:
    bucket, endpoint, region = _s3_place(url)
    options: dict[str, Any] = {}
    if endpoint is None:
        region = region or pafs.resolve_s3_region(bucket)
    else:
        options["scheme"], _, options["endpoint_override"] = endpoint.partition("://")
    return pafs.S3FileSystem(
        region=region or "us-east-1",
        request_timeout=REQUEST_S,
        connect_timeout=CONNECT_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=5),
        allow_delayed_open=True,  # a small file is one PUT, not the three requests of a multipart upload
        **options,
    )


def _s3_place(url: str) -> tuple[str, str | None, str | None]:
    """Bucket, endpoint with its scheme, region; None for what neither the URL nor the environment says. Raises
    ValueError for a query that says nothing here."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    unknown = sorted(query.keys() - _S3_QUERY)
    if unknown:
        raise ValueError(f"?{unknown[0]}= is unknown; an S3 URL may have {', '.join(sorted(_S3_QUERY))}")
    said = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    endpoint = query.get("endpoint_override") or said
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"{query.get('scheme', 'https')}://{endpoint}"
    region = query.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return parts.netloc, None if endpoint is None else endpoint.rstrip("/"), region


def s3_place(url: str) -> tuple[str, str | None, str] | None:
    """Bucket, endpoint with its scheme (None: Amazon's) and region that a URL leads to; None where it is not S3's."""
    if urlsplit(url).scheme != "s3":
        return None
    bucket, endpoint, region = _s3_place(url)
    if region is None and endpoint is None:
        region = pafs.resolve_s3_region(bucket)
    return bucket, endpoint, region or "us-east-1"


def _fsspec(url: str) -> tuple[pafs.FileSystem, str]:
    from fsspec.core import url_to_fs

    filesystem, root = url_to_fs(url)
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), root


def create(url: str, path: str, data: bytes) -> bool:
    """Writes `path` of the filesystem that `url` names, only if nothing is there. Atomic where the store is. Raises
    OSError, and StorageError where the package that can do it is not installed."""
    scheme = urlsplit(url).scheme
    options: dict[str, Any] = {}
    if scheme == "s3":
        _, endpoint, region = _s3_place(url)
        options = {"endpoint_url": endpoint, "client_kwargs": {"region_name": region} if region else {}}
    try:
        import fsspec

        filesystem: Any = fsspec.filesystem(scheme, **options)
    except (ImportError, ValueError) as error:
        raise StorageError(
            f"{url}: writing only where nothing is needs fsspec's filesystem for {scheme}:// ({error}); for S3, "
            "pip install 'berry-pipeline[s3]'"
        ) from error
    try:
        filesystem.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except _client_errors() as error:
        raise OSError(str(error)) from error
    return True


def can_create(url: str) -> bool:
    """Whether the package that `create` needs is installed."""
    import fsspec

    try:
        fsspec.get_filesystem_class(urlsplit(url).scheme)
    except (ImportError, ValueError):
        return False
    return True


def _client_errors() -> tuple[type[Exception], ...]:
    """What S3's client raises that is no OSError: no credentials, no connection."""
    try:
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return ()
    return (BotoCoreError,)


def patiently(operation: Callable[[], T]) -> T:
    """The operation's result, tried again for about a minute while a store is busy, failing or out of reach, which is
    told (`outages_told`). Raises its last OSError."""
    for number, wait_s in enumerate(TRIES_S):
        try:
            result = operation()
        except OSError as error:
            if not _passes(error):
                raise
            if number == TOLD_AFTER_TRIES:
                _outage.begins(explain(error))
        else:
            _outage.ends()
            return result
        time.sleep(wait_s)
    return operation()


@contextmanager
def outages_told(note: Callable[[str], None]) -> Iterator[None]:
    """While the context lasts, `note` is told, from whatever thread, when a store of this process stays away and when
    it is back."""
    before, _outage.note = _outage.note, note
    try:
        yield
    finally:
        _outage.note = before


@dataclass(slots=True)
class _Outage:
    """Whether a store is away, as far as this process has seen; each change is told once."""

    note: Callable[[str], None] = lambda _: None
    since: float | None = None
    lock: Lock = field(default_factory=Lock)

    def begins(self, why: str) -> None:
        with self.lock:
            is_new, self.since = self.since is None, self.since or time.monotonic()
        if is_new:
            self.note(f"the store does not answer ({why}); it is asked again for up to {sum(TRIES_S):.0f} s")

    def ends(self) -> None:
        if self.since is None:
            return
        with self.lock:
            since, self.since = self.since, None
        if since is not None:
            self.note(f"the store answers again, {time.monotonic() - since:.0f} s later")


_outage = _Outage()


def _passes(error: OSError) -> bool:
    """Whether another try may help."""
    if isinstance(error, (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return False
    text = str(error).lower()
    return not any(mark in text for mark in (*_DENIED, *_NO_BUCKET))


def explain(error: BaseException) -> str:
    """What happened and what to do, in one line."""
    text = " ".join(str(error).split())
    low = text.lower()
    if isinstance(error, PermissionError) or any(mark in low for mark in _DENIED):
        return (
            f"access is denied ({text}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this "
            "machine a role that may read and write there"
        )
    if any(mark in low for mark in _NO_BUCKET):
        return f"there is no such bucket ({text}); make it, or correct the URL"
    if any(mark in low for mark in _UNREACHABLE):
        return f"the store can't be reached ({text}); check AWS_ENDPOINT_URL, the region and the network"
    return text
