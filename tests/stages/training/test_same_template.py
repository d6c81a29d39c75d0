from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines import models
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.errors import InputError
from berry.pipeline.stages.training.same_template import check_template, template_now


def config(**engine: Any) -> RunConfig:
    raw = {"name": "r", "problems": [{"type": "arithmetic", "count": 4}], "engine": engine}
    return RunConfig.model_validate(raw)


def tree(template: str | None) -> Any:
    return cast(
        "Any", SimpleNamespace(problem_id="p1", round_index=2, model="tiny", synthetic=False, template_hash=template)
    )


def test_a_template_that_changed_is_refused_with_both() -> None:
    tiny = {"type": "vllm", "model": "tiny-arithmetic"}
    now = template_now(config(**tiny))
    assert now == Tokens(models.resolve("tiny-arithmetic")).template_hash, "as leases are marked with it"
    changed = template_now(config(**tiny, chat_template="{{ messages[0]['content'] }} = "))
    assert changed != now
    check_template(tree(now), now)
    with pytest.raises(InputError, match=rf"problem p1 of round 2 .*hash {now}. than tiny has now .{changed}."):
        check_template(tree(now), changed)


def test_runs_that_do_not_say_their_template_are_learned_from() -> None:
    check_template(tree(None), "now")
    assert template_now(config(type="synthetic")) is None
