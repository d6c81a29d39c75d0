"""An export goes to a Hub repository whole, in place of an earlier one; refusals are one error that says what to do."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from berry.pipeline.errors import InputError, ResourceError
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.stages.export.push import check_repository, push
from berry.pipeline.storage.run.directory import RunDir
from tests.stages.export.hub_server import HubServer


@pytest.fixture
def written(stored_run: Callable[..., RunDir], tmp_path: Path) -> Callable[..., Path]:
    def write(**request: object) -> Path:
        folder = tmp_path / "out"
        export(stored_run(count=20), ExportRequest("orm", **request), str(folder), replace=True)  # type: ignore[arg-type]
        return folder

    return write


def test_rows_card_and_manifest_arrive_and_rows_of_an_earlier_export_go(hub: HubServer, written) -> None:
    folder = written(heldout_share=0.4)
    address = push(folder, "me/sums", private=True)
    assert address.startswith(f"{hub.url}/datasets/me/sums/commit/")
    assert hub.created[0].get("private") or hub.created[0].get("visibility") == "private"
    assert hub.created[0]["type"] == "dataset"
    there = hub.files["me/sums"]
    assert there == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert pq.read_table(io.BytesIO(there["heldout.parquet"])).num_rows > 0
    (folder / "heldout.parquet").unlink()
    there["mine/train.parquet"] = b"not of an export"
    push(folder, "me/sums")
    assert sorted(hub.files["me/sums"]) == ["README.md", "manifest.json", "mine/train.parquet", "train.parquet"]


def test_a_refusal_says_how_to_log_in_and_where_the_files_are(hub: HubServer, tmp_path: Path) -> None:
    hub.token = "another"
    with pytest.raises(InputError, match=r"--push me/sums: the Hub refused with status 401 .* HF_TOKEN") as refused:
        push(tmp_path, "me/sums")
    assert str(tmp_path) in str(refused.value)


def test_a_hub_that_is_away_says_so(hub: HubServer, tmp_path: Path) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(ResourceError, match="--push me/sums: the Hub can't be reached"):
        push(tmp_path, "me/sums")


def test_a_name_that_is_none_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InputError, match="give OWNER/NAME"):
        check_repository("a/b/c")
