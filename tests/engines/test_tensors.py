from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from berry.pipeline.engines.tensors import check_fits, shapes
from berry.pipeline.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path):
    def make(name: str, **tensors: tuple[int, ...]) -> str:
        (tmp_path / name).mkdir()
        save_file({n.replace("_", "."): torch.zeros(s) for n, s in tensors.items()}, tmp_path / name / "m.safetensors")
        return str(tmp_path / name)

    return make


def test_shapes_are_read_from_the_header(folder) -> None:
    assert shapes(folder("a", x_y=(2, 3), z=(4,))) == {"x.y": (2, 3), "z": (4,)}


def test_what_fits_passes_and_a_tied_head_may_be_missing(folder) -> None:
    check_fits(folder("a", x=(2, 3)), folder("b", x=(2, 3), more=(1,)))
    check_fits(str(Path(folder("c", x=(2,))) / "no folder"), folder("d", y=(1,)))


@pytest.mark.parametrize(
    ("theirs", "says"), [({"x": (3, 2)}, r"x is \[3, 2\]"), ({"y": (2, 3)}, "lacks x"), ({}, "lacks x")]
)
def test_what_does_not_fit_is_named(folder, theirs, says) -> None:
    with pytest.raises(ConfigError, match=says):
        check_fits(folder("a", x=(2, 3)), folder("b", **(theirs or {"z": (1,)})))


@pytest.mark.parametrize("keep", [0, 5, 20, -4])
def test_a_file_that_was_not_written_to_its_end_is_refused(folder, keep: int) -> None:
    whole, half = folder("a", x=(2, 3)), folder("b", x=(2, 3))
    file = Path(half) / "m.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ConfigError, match="half written"):
        check_fits(whole, half)
