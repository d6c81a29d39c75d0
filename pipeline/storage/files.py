"""Reads and writes files on any filesystem that pyarrow or fsspec knows: a local path, or a URL such as s3://bucket/run.

Two guarantees: `put` makes a file appear whole or not at all (local: write aside, flush, rename; object stores: one
put), and `create` makes it appear only if nothing of that name is there. An object store that fails or is busy is asked
again for about a minute (`remote.patiently`).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from berry.pipeline.errors import ResourceError, StorageError
from berry.pipeline.storage import remote, s3_listing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Location:
    """A folder on a filesystem. `root` has no trailing slash."""

    filesystem: pafs.FileSystem
    root: str
    url: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this host."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def show(self, name: str = "") -> str:
        """The path or URL of `name`, for messages and other programs."""
        return under(self.url, name)

    def put(self, name: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
        """Writes `name` whole or not at all, replacing an older one. `durable` False leaves it to the kernel when a
        local file reaches the disk: it survives any process, not a power cut. Raises StorageError."""
        path = self.path(name)
        if not self.is_local:

            def upload() -> None:
                with self.filesystem.open_output_stream(path) as stream:
                    stream.write(data)

            try:
                self._do(name, "written", upload)
            except FileNotFoundError as error:
                raise StorageError(f"{self.show(name)}: can't be written: {error}") from error
            return
        aside = f"{path}.writing-{os.getpid()}"
        try:
            try:
                _write_local(aside, data, durable=durable)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(aside), exist_ok=True)
                _write_local(aside, data, durable=durable)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
            os.replace(aside, path)
        except OSError as error:
            raise StorageError(f"{self.show(name)}: can't be written: {error.strerror or error}") from error

    def create(self, name: str, data: bytes) -> bool:
        """Writes `name` whole, only if nothing is there; False if something is. Atomic: of all who try, one wins. On an
        object store `data` must be the caller's own, since an answer that was lost on the way is known by it. Raises
        StorageError."""
        path = self.path(name)
        if not self.is_local:
            won = self._do(name, "written", lambda: remote.create(self.url, path, data))
            return won or self.get(name) == data
        aside = f"{path}.writing-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                _write_local(aside, data, durable=True)
                os.link(aside, path)
            except FileExistsError:
                return False
            finally:
                Path(aside).unlink(missing_ok=True)
            return True
        except OSError as error:
            raise StorageError(f"{self.show(name)}: can't be written: {error.strerror or error}") from error

    def get(self, name: str) -> bytes | None:
        """The file's bytes, None if there is none."""
        try:
            return self.read(name, lambda stream: stream.read())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, name: str, using: Callable[[pa.NativeFile], T]) -> T:
        """What `using` makes of the open file. Raises FileNotFoundError, else StorageError where the storage fails."""

        def opened() -> T:
            with self.filesystem.open_input_file(self.path(name)) as stream:
                return using(stream)

        return self._do(name, "read", opened)

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or folder of that name. Raises StorageError."""
        return self._info(name).type != pafs.FileType.NotFound

    def check_reachable(self) -> None:
        """Asks the store once, and tries nothing again. Raises ResourceError where the store refuses or does not
        answer."""
        try:
            self.filesystem.get_file_info(self.path("run.yaml"))
            if not self.is_local:
                self.filesystem.get_file_info(pafs.FileSelector(self.root, allow_not_found=True))
        except OSError as error:
            raise ResourceError(f"{self.show()}: {remote.explain(error)}") from error

    def names(self, folder: str, *, between: Sequence[str] = ()) -> list[str]:
        """Sorted base names of the files in `folder`; empty if it isn't there. Of a folder of very many files `between`
        names where to cut it into parts, which S3 is asked for at once. Raises StorageError."""
        if self.is_local:
            return self._local_names(folder)
        if between:
            found = self._do(folder, "listed", lambda: s3_listing.names(self.url, self.path(folder), between))
            if found is not None:
                return sorted(found)
        return sorted(f.base_name for f in self._listed(folder) if f.type == pafs.FileType.File)

    def _local_names(self, folder: str) -> list[str]:
        """Asks for no more than names: sizes and times of a million files take eight times as long."""

        def listed() -> list[str]:
            with os.scandir(self.path(folder)) as entries:
                return sorted(entry.name for entry in entries if entry.is_file())

        try:
            return self._do(folder, "listed", listed)
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise self._is_no_folder(folder) from error

    def stamps(self, folder: str) -> dict[str, tuple[int, int]]:
        """Size in bytes and time of the last change in ns of every file in `folder`, by name."""
        found = (f for f in self._listed(folder) if f.type == pafs.FileType.File)
        return {f.base_name: (f.size, f.mtime_ns or 0) for f in found}

    def stamp(self, name: str) -> tuple[int, int] | None:
        """Size in bytes and time of the last change in ns of a file; None if there is none."""
        info = self._info(name)
        return (info.size, info.mtime_ns or 0) if info.type == pafs.FileType.File else None

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders in a folder, sorted; none where there is no such folder."""
        return sorted(f.base_name for f in self._listed(folder) if f.type == pafs.FileType.Directory)

    def remove(self, name: str) -> None:
        try:
            self._do(name, "removed", lambda: self.filesystem.delete_file(self.path(name)))
        except FileNotFoundError:
            return

    def move(self, name: str, to: str) -> None:
        """Nothing if `name` isn't there. Raises StorageError."""
        target = self.path(to)

        def moved() -> None:
            self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            self.filesystem.move(self.path(name), target)

        try:
            self._do(name, f"moved to {to}", moved)
        except FileNotFoundError:
            return

    def remove_folder(self, name: str) -> None:
        """Removes a folder and all below it; nothing if it isn't there."""
        try:
            self._do(name, "removed", lambda: self.filesystem.delete_dir(self.path(name)))
        except FileNotFoundError:
            return

    def _info(self, name: str) -> pafs.FileInfo:
        return self._do(name, "read", lambda: self.filesystem.get_file_info(self.path(name)))

    def _listed(self, folder: str) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        try:
            return self._do(folder, "listed", lambda: self.filesystem.get_file_info(selector))
        except NotADirectoryError as error:
            raise self._is_no_folder(folder) from error

    def _is_no_folder(self, folder: str) -> StorageError:
        return StorageError(f"{self.show(folder)}: is a file where a folder is to be; move it away")

    def _do(self, name: str, done: str, operation: Callable[[], T]) -> T:
        """FileNotFoundError and NotADirectoryError go through; any other OSError becomes a StorageError."""
        try:
            return operation() if self.is_local else remote.patiently(operation)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            why = (error.strerror or str(error)) if self.is_local else remote.explain(error)
            raise StorageError(f"{self.show(name)}: can't be {done}: {why}") from error


def _write_local(path: str, data: bytes | pa.Buffer, *, durable: bool) -> None:
    with open(path, "wb") as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


def locate(place: str | Path) -> Location:
    """The folder a path or URL names. Raises StorageError for a URL that no filesystem here understands."""
    text = str(place).rstrip("/")
    if "://" not in text:
        absolute = str(Path(text).absolute())
        return Location(pafs.LocalFileSystem(), absolute, text)
    filesystem, root = remote.open_url(text)
    return Location(filesystem, root, text)


def under(place: str, name: str) -> str:
    """A name in a folder given by path or URL; a URL's query stays at the end."""
    if not name:
        return place
    parts = urlsplit(place) if "://" in place else None
    if parts is None or not parts.query:
        return f"{place.rstrip('/')}/{name}"
    return parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl()


def open_location(path: str) -> pa.NativeFile:
    """A readable, seekable file at a path or URL. Raises OSError, StorageError."""
    if "://" not in path:
        return pa.OSFile(path, "rb")
    filesystem, inner = remote.open_url(path)
    return filesystem.open_input_file(inner)
