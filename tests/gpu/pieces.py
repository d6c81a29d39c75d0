"""Many files as one stream in pieces of a bounded size, and back, every piece checked. Standard library alone.

files ─► tar ─► piece-000 piece-001 … + manifest.json ─► tar ─► files

The same files give the same pieces: names are sorted, times and owners are left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
FORMAT = 1
CHUNK = 1 << 20


class PackError(Exception):
    """What is wrong with a pack, and the remedy."""


@dataclass(frozen=True)
class Piece:
    name: str
    size: int  # in bytes
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`made` says what is inside: revision, versions, platform. `size` is the whole stream's, in bytes."""

    pieces: tuple[Piece, ...]
    files: int
    size: int
    made: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)


def split(files: Mapping[str, Path], folder: Path, *, piece_bytes: int, made: dict[str, Any] | None = None) -> Manifest:
    """Writes `files` (name inside ─► where it is) as pieces of at most `piece_bytes` into `folder`, the manifest
    last."""
    if piece_bytes < tarfile.RECORDSIZE:
        raise PackError(f"pieces of {piece_bytes} bytes are too small: take at least {tarfile.RECORDSIZE}")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("piece-*"):
        old.unlink()
    (folder / MANIFEST).unlink(missing_ok=True)
    with _Splitter(folder, piece_bytes) as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
        for name in sorted(files):
            tar.add(files[name], arcname=name, recursive=False, filter=_anonymous)
    manifest = Manifest(tuple(stream.pieces), len(files), sum(p.size for p in stream.pieces), made or {})
    (folder / MANIFEST).write_text(manifest.to_json())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Raises PackError where there is none, or one of another release."""
    path = folder / MANIFEST
    if not path.is_file():
        raise PackError(f"{folder} has no {MANIFEST}: copy it here with the pieces")
    try:
        raw = json.loads(path.read_text())
        if raw.pop("format") != FORMAT:
            raise PackError(f"{path} is of another release of this pack: make the pack anew")
        return Manifest(tuple(Piece(**p) for p in raw["pieces"]), raw["files"], raw["size"], raw["made"])
    except (ValueError, KeyError, TypeError) as error:
        raise PackError(f"{path} is damaged ({error}): copy it again") from error


def faults(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the pieces here, one line a piece: missing, cut short, damaged."""
    found = []
    for piece in manifest.pieces:
        path = folder / piece.name
        if not path.is_file():
            found.append(f"{piece.name} is missing")
        elif path.stat().st_size != piece.size:
            found.append(f"{piece.name} has {path.stat().st_size} of {piece.size} bytes")
        elif _sha256(path) != piece.sha256:
            found.append(f"{piece.name} is damaged: its checksum differs")
    return found


def join(folder: Path, target: Path, *, progress: Callable[[str], None] = lambda _line: None) -> Manifest:
    """The files of the pack in `folder`, under `target`. Raises PackError, before anything is written, for pieces that
    are not whole."""
    manifest = read_manifest(folder)
    wrong = faults(folder, manifest)
    if wrong:
        here = len(manifest.pieces) - len(wrong)
        raise PackError(f"{here} of {len(manifest.pieces)} pieces are whole; copy again: {'; '.join(wrong)}")
    progress(f"{len(manifest.pieces)} pieces are whole, {manifest.size / 1e6:,.0f} MB")
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    with _Joined([folder / p.name for p in manifest.pieces]) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            tar.extract(member, target, filter="data")
            count += 1
    if count != manifest.files:
        raise PackError(f"{folder} gave {count} files in place of {manifest.files}: make the pack anew")
    return manifest


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime = info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if info.mode & 0o100 else 0o644
    return info


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Splitter(io.RawIOBase):
    """A file to write to that starts a new piece whenever one is full."""

    def __init__(self, folder: Path, piece_bytes: int) -> None:
        self.pieces: list[Piece] = []
        self._folder, self._room = folder, piece_bytes
        self._piece_bytes = piece_bytes
        self._stream: io.BufferedWriter | None = None
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        while view:
            if self._stream is None:
                self._stream = (self._folder / f"piece-{len(self.pieces):03d}").open("wb")
                self._room, self._digest = self._piece_bytes, hashlib.sha256()
            part = view[: self._room]
            self._stream.write(part)
            self._digest.update(part)
            self._room -= len(part)
            view = view[len(part) :]
            if not self._room:
                self._end_piece()
        return memoryview(data).nbytes

    def _end_piece(self) -> None:
        if self._stream is not None:
            size = self._piece_bytes - self._room
            self.pieces.append(Piece(Path(self._stream.name).name, size, self._digest.hexdigest()))
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        self._end_piece()
        super().close()


class _Joined(io.RawIOBase):
    """The pieces read as one file."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = list(paths)
        self._stream: io.BufferedReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._stream is None:
                if not self._paths:
                    return 0
                self._stream = self._paths.pop(0).open("rb")
            count = self._stream.readinto(buffer)
            if count:
                return count
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().close()
