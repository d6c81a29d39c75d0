from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from pieces import MANIFEST, PackError, faults, join, read_manifest, split

PIECE = 20_000


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rng, made = random.Random(0), {}
    for name, size in {"a/one.bin": 50_001, "b.bin": 7, "empty": 0, "a/run.sh": 300}.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
        made[name] = path
    made["a/run.sh"].chmod(0o755)
    return made


@pytest.fixture
def pack(files: dict[str, Path], tmp_path: Path) -> Path:
    split(files, tmp_path / "pack", piece_bytes=PIECE, made={"revision": "r"})
    return tmp_path / "pack"


def test_what_was_split_comes_back_whole(files: dict[str, Path], pack: Path, tmp_path: Path) -> None:
    made = join(pack, tmp_path / "out")
    for name, path in files.items():
        assert (tmp_path / "out" / name).read_bytes() == path.read_bytes()
    assert (tmp_path / "out" / "a" / "run.sh").stat().st_mode & 0o111
    assert (made.files, made.made) == (len(files), {"revision": "r"})


def test_no_piece_is_larger_than_asked_and_all_but_the_last_are_full(pack: Path) -> None:
    sizes = [path.stat().st_size for path in sorted(pack.glob("piece-*"))]
    assert len(sizes) > 2
    assert set(sizes[:-1]) == {PIECE}
    assert 0 < sizes[-1] <= PIECE


def test_the_same_files_give_the_same_pieces(files: dict[str, Path], pack: Path, tmp_path: Path) -> None:
    for path in files.values():
        path.touch()
    again = split(dict(reversed(files.items())), tmp_path / "again", piece_bytes=PIECE)
    assert again.pieces == read_manifest(pack).pieces


def test_an_older_pack_leaves_no_piece_behind(files: dict[str, Path], pack: Path) -> None:
    manifest = split({"b.bin": files["b.bin"]}, pack, piece_bytes=PIECE)
    assert [p.name for p in pack.glob("piece-*")] == [p.name for p in manifest.pieces]


def test_a_missing_a_short_and_a_damaged_piece_are_each_named(pack: Path, tmp_path: Path) -> None:
    (pack / "piece-000").unlink()
    (pack / "piece-001").write_bytes((pack / "piece-001").read_bytes()[:-1])
    whole = (pack / "piece-002").read_bytes()
    (pack / "piece-002").write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    found = faults(pack, read_manifest(pack))
    assert found[0] == "piece-000 is missing"
    assert found[1] == f"piece-001 has {PIECE - 1} of {PIECE} bytes"
    assert found[2].startswith("piece-002 is damaged")
    with pytest.raises(PackError, match="1 of 4 pieces are whole; copy again: piece-000 is missing; piece-001"):
        join(pack, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "copy it here"),
        ("{", "is damaged"),
        (json.dumps({"format": 1}), "is damaged"),
        (json.dumps({"format": 99}), "another release"),
    ],
)
def test_a_manifest_that_is_not_there_or_not_ours(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(PackError, match=message):
        read_manifest(tmp_path)


def test_a_pack_writes_nowhere_but_under_its_target(files: dict[str, Path], tmp_path: Path) -> None:
    split({"../outside": files["b.bin"]}, tmp_path / "bad", piece_bytes=PIECE)
    with pytest.raises(Exception, match="outside"):
        join(tmp_path / "bad", tmp_path / "out")
    assert not (tmp_path / "outside").exists()


def test_pieces_too_small_for_a_tar_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(PackError, match="take at least 10240"):
        split(files, tmp_path / "pack", piece_bytes=100)
