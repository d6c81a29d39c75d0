"""Copies folders of weights from an object store to this host before they are used, and back.

URL ─► cached_copy ─► $BERRY_CACHE/weights/MARK, whole or not at all          folder ─► upload ─► URL, its card last

The mark says which files of which size and time were copied: new weights under an old URL are fetched anew.
"""

from __future__ import annotations

import shutil
import tempfile
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location, locate

BLOCK = 8 << 20


def cached_copy(url: str, cache: Path, *, last: str) -> Path | None:
    """The local copy of the folder at `url`; None if it has no file `last`, which says that the others are there.
    Raises StorageError."""
    location = locate(url)
    stamps = location.stamps("")
    if last not in stamps:
        return None
    mark = blake2b(repr((url, sorted(stamps.items()))).encode(), digest_size=12).hexdigest()
    target = cache / mark
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{mark}.writing-", dir=cache))
        try:
            for name in stamps:
                _copy(location, name, aside / name)
            aside.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{target}: {url} can't be copied here: {error.strerror or error}") from error
    return target


def _copy(location: Location, name: str, target: Path) -> None:
    def stream(source: pa.NativeFile) -> None:
        with target.open("wb") as out:
            while block := source.read(BLOCK):
                out.write(block)

    location.read(name, stream)


def upload(folder: Path, location: Location, name: str, *, last: str) -> None:
    """Writes a folder's files as `name` under `location`, `last` after all others. Raises StorageError."""
    files = (file for file in folder.iterdir() if file.is_file())
    for file in sorted(files, key=lambda f: (f.name == last, f.name)):
        location.put(f"{name}/{file.name}", file.read_bytes())
