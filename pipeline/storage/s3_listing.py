"""Lists folders of very many files on S3: a page of a thousand names takes a tenth of a second, so parts go at once.

    names(url, folder, between) ─► first page ─► all of it? done : the rest, cut at the names in `between`, in threads

pyarrow asks for one page after the other and can't begin in the middle; botocore's own client can, and takes a hundred
times as long to read a page as a search for its names does. So botocore finds the credentials and signs, no more.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any
from urllib.parse import quote, urlencode

from berry.pipeline.storage import remote

AT_ONCE = 16
_KEY = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
_IS_TRUNCATED = "<IsTruncated>true</IsTruncated>"


def names(url: str, path: str, between: Sequence[str]) -> list[str] | None:
    """Sorted base names of the files in the folder `path` (bucket and key), which `url` leads to; None where it is not
    on S3, or the package that signs is not installed. Raises OSError."""
    folder = _folder(url, path)
    if folder is None:
        return None
    found, is_whole = folder.page("")
    if is_whole:
        return found
    last = found[-1]
    bounds: list[str | None] = [last, *(name for name in between if name > last), None]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = pool.map(lambda ends: list(folder.pages(*ends)), pairwise(bounds))
        return [*found, *chain.from_iterable(parts)]


@dataclass(slots=True)
class _Folder:
    """A folder of a bucket, with what signs requests to it."""

    address: str  # of the bucket
    prefix: str
    region: str
    credentials: Any
    http: Any
    _signing: threading.Lock = field(default_factory=threading.Lock)

    def pages(self, after: str | None, end: str | None) -> Iterator[str]:
        """Names behind `after`, up to `end` itself; to the last where that is None."""
        at, is_whole = after or "", False
        while not is_whole:
            found, is_whole = remote.patiently(lambda at=at: self.page(at))
            for name in found:
                if end is not None and name > end:
                    return
                yield name
            at = found[-1] if found else at

    def page(self, after: str) -> tuple[list[str], bool]:
        """Up to a thousand names behind `after`, and whether they are the last. Raises OSError."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from urllib3.exceptions import HTTPError

        query = {"delimiter": "/", "list-type": "2", "prefix": self.prefix}
        if after:
            query["start-after"] = self.prefix + after
        request = AWSRequest("GET", f"{self.address}?{urlencode(query, quote_via=quote)}")
        if self.credentials is not None:
            with self._signing:  # credentials that end are asked for anew, by one thread
                S3SigV4Auth(self.credentials.get_frozen_credentials(), "s3", self.region).add_auth(request)
        try:
            answer = self.http.request("GET", request.url, headers=dict(request.headers), retries=False)
        except HTTPError as error:
            raise OSError(str(error)) from error
        text = answer.data.decode(errors="replace")
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status}: {_said(text)}")
        keys = (html.unescape(key)[len(self.prefix) :] for key in _KEY.findall(text))
        found = [name for name in keys if name]
        return found, _IS_TRUNCATED not in text or not found


def _said(text: str) -> str:
    return " ".join(re.findall(r"<(?:Code|Message)>(.*?)</", text)) or text[:200]


def _folder(url: str, path: str) -> _Folder | None:
    place = remote.s3_place(url)
    if place is None:
        return None
    try:
        import urllib3
        from botocore.session import get_session
    except ImportError:
        return None
    bucket, endpoint, region = place
    _, _, key = path.partition("/")
    address = f"https://{bucket}.s3.{region}.amazonaws.com/" if endpoint is None else f"{endpoint}/{bucket}"
    timeout = urllib3.Timeout(connect=remote.CONNECT_S, read=remote.REQUEST_S)
    http = urllib3.PoolManager(maxsize=AT_ONCE, timeout=timeout)
    return _Folder(address, f"{key}/", region, get_session().get_credentials(), http)
