from __future__ import annotations

import pytest
import ray

from berry.pipeline.errors import ResourceError
from berry.pipeline.runtime.cluster.connect import join


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nPlease check the logs")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(ResourceError, match=r"^Ray can't be started here: The current node timed out during startup.;"):
        join(None)
