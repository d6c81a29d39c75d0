"""What answers come back exactly from the well-known chat templates, and what is lost of the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.stages.export.exactness import Loss
from tests.stages.export.chat_templates import FAMILIES, KINDS, comparisons, with_template
from tests.stages.export.test_exactness import byte_tokenizer

EXACT = None
LOSSES: dict[str, tuple[Loss | None, ...]] = {  # of each family, by kind of answer
    "ChatML": (EXACT, EXACT, Loss.TURN, EXACT),
    "Llama-3": (EXACT, Loss.WHITE_SPACE, Loss.TURN, EXACT),
    "Qwen3, thinking": (EXACT, EXACT, Loss.TURN, EXACT),
    "Qwen3, not thinking": (EXACT, EXACT, Loss.TURN, EXACT),
    "DeepSeek-R1": (Loss.THINKING, Loss.THINKING, Loss.THINKING, Loss.THINKING),
    "SmolLM2": (EXACT, EXACT, Loss.TURN, EXACT),
}


@pytest.fixture(scope="module")
def templated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tokens]:
    made: dict[str, Tokens] = {}

    def make(name: str) -> Tokens:
        if name not in made:
            made[name] = with_template(byte_tokenizer(), FAMILIES[name], tmp_path_factory.mktemp("template"))
        return made[name]

    return make


@pytest.mark.parametrize(
    ("name", "kind", "loss"),
    [(name, kind, loss) for name, losses in LOSSES.items() for kind, loss in zip(KINDS, losses, strict=True)],
)
def test_answers_come_back_or_it_is_said_what_is_lost(templated, name: str, kind: str, loss: Loss | None) -> None:
    found = comparisons(templated(name), FAMILIES[name], kind)
    assert {one.loss for one in found} == {loss}
    thought = sum(one.changed for one in found) / sum(one.tokens for one in found)
    if loss is Loss.THINKING:
        assert 0.3 < thought < 1.0, "the thought is lost, the answer is not"
    elif loss in (EXACT, Loss.TURN):
        assert thought == 0.0
    else:
        assert 0.0 < thought < 0.2
