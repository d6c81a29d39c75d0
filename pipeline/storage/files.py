"""Files on any filesystem that pyarrow or fsspec knows: a local path, or a URL such as s3://bucket/run.

Two guarantees: `put` makes a file appear whole or not at all (local: write aside, flush, rename; object stores: one
put), and `create` makes it appear only if nothing of that name is there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from pipeline.errors import StorageError


@dataclass(frozen=True, slots=True)
class Location:
    """A folder on a filesystem. `root` has no trailing slash."""

    filesystem: pafs.FileSystem
    root: str
    url: str

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def show(self, name: str = "") -> str:
        return f"{self.url}/{name}" if name else self.url

    def put(self, name: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
        """Writes `name` whole or not at all, replacing an older one. `durable` False leaves it to the kernel when a
        local file reaches the disk: it survives any process, not a power cut. Raises StorageError."""
        path = self.path(name)
        try:
            if not self.is_local:
                with self.filesystem.open_output_stream(path) as stream:
                    stream.write(data)
                return
            aside = f"{path}.writing-{os.getpid()}"
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
        """Writes `name` only if nothing is there; False if something is. Local filesystems only are atomic here."""
        path = self.path(name)
        try:
            if not self.is_local:
                if self.exists(name):
                    return False
                self.put(name, data)
                return True
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                return False
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            return True
        except OSError as error:
            raise StorageError(f"{self.show(name)}: can't be written: {error.strerror or error}") from error

    def get(self, name: str) -> bytes | None:
        """The file's bytes, None if there is none."""
        try:
            with self.filesystem.open_input_stream(self.path(name), compression=None) as stream:
                return stream.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"{self.show(name)}: can't be read: {error}") from error

    def exists(self, name: str = "") -> bool:
        return self.filesystem.get_file_info(self.path(name)).type != pafs.FileType.NotFound

    def names(self, folder: str) -> list[str]:
        """Sorted base names of the files in `folder`; empty if it isn't there."""
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        return sorted(f.base_name for f in self.filesystem.get_file_info(selector) if f.type == pafs.FileType.File)

    def folders(self, folder: str = "") -> list[str]:
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return sorted(f.base_name for f in found if f.type == pafs.FileType.Directory)

    def remove(self, name: str) -> None:
        try:
            self.filesystem.delete_file(self.path(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{self.show(name)}: can't be removed: {error}") from error

    def move(self, name: str, to: str) -> None:
        """Nothing if `name` isn't there. Raises StorageError."""
        target = self.path(to)
        try:
            self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            self.filesystem.move(self.path(name), target)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{self.show(name)}: can't be moved to {to}: {error}") from error

    def remove_folder(self, name: str) -> None:
        """Removes a folder and all below it; nothing if it isn't there."""
        try:
            self.filesystem.delete_dir(self.path(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{self.show(name)}: can't be removed: {error}") from error


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
    try:
        filesystem, root = pafs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, OSError) as error:
        raise StorageError(f"{text}: not a location that can be opened: {error}") from error
    return Location(filesystem, root.rstrip("/"), text)


def open_location(path: str) -> pa.NativeFile:
    """A readable, seekable file at a path or URL. Raises OSError."""
    if "://" not in path:
        return pa.OSFile(path, "rb")
    filesystem, inner = pafs.FileSystem.from_uri(path)
    return filesystem.open_input_file(inner)
