"""weights.json is written whole, read back, and found under the name that version 0.1.0 gave it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

import pytest

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.run import weights_file
from berry.pipeline.storage.run.weights_file import (
    RunWeights,
    Weights,
    address,
    read_weights,
    write_weights,
)

SOME = RunWeights(2, Weights("round=1/weights/policy", "policy-r1"), {"prm": Weights("/models/prm", "mine")})


def test_what_is_written_is_read(location: Location) -> None:
    assert read_weights(location) == RunWeights()
    write_weights(location, SOME)
    assert read_weights(location) == SOME
    assert location.names("") == ["weights.json"]


def test_a_folder_of_the_run_moves_with_it(location: Location) -> None:
    assert address(location, Weights("round=1/weights/policy", "v")) == location.show("round=1/weights/policy")
    assert address(location, Weights("org/model", "v")) == "org/model"


def test_the_former_name_is_read_with_one_line_of_notice(location: Location, caplog: pytest.LogCaptureFixture) -> None:
    location.put("serving.json", json.dumps(asdict(SOME)).encode())
    with caplog.at_level(logging.WARNING, logger=weights_file.__name__):
        assert read_weights(location) == SOME
        assert read_weights(location) == SOME
    notice = f"{location.show('serving.json')}: is read as weights.json, which is its name since version 0.2.0"
    assert caplog.messages == [notice]
    write_weights(location, SOME)
    assert location.names("") == ["weights.json"]


@pytest.mark.parametrize("name", ["weights.json", "serving.json"])
def test_a_damaged_file_is_named(location: Location, name: str) -> None:
    location.put(name, b"{}")
    with pytest.raises(StorageError, match=name):
        read_weights(location)
