from __future__ import annotations

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.stages.problems.arithmetic import worked
from berry.pipeline.stages.training.ground_truth import ground_truth_of

PROMPT = "12 + 5 - 3 * 7?"
SPELLING = Vocabulary("chars", 128, lambda ids: "".join(map(chr, ids)), lambda text: list(map(ord, text)))


@pytest.mark.parametrize(
    ("response", "right"),
    [
        (worked(PROMPT), True),
        ("12+5=17\n", True),
        ("12+5=18\n", False),
        ("12+5=17\n17-3*7=17-21=-4\n", True),
        ("12+5=17\n17-3*7=17-21=4\n", False),
        ("12+5=17\n17-3*7=17-21=-4\n-4", True),
        ("12+5=17\n17-3*7=17-21=-4\n-5", False),
        ("12+5=17\n17-3*7=17-21=-4\n-4\n-4\n7", False),
        ("", False),
    ],
)
def test_a_line_is_right_if_it_ends_in_the_right_running_total(response: str, right: bool) -> None:
    raw = {
        "name": "t",
        "problems": [{"type": "arithmetic", "count": 1}],
        "engine": {"type": "vllm", "model": "tiny-arithmetic"},
    }
    truth = ground_truth_of(validate(raw, RunConfig, where="test"), SPELLING)
    assert truth is not None
    assert truth(SPELLING.encode(PROMPT), SPELLING.encode(response)) == (None, right)
