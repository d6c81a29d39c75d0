"""How the test models are made: what they learn from, and that the one with a tool learns to use it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from berry.pipeline.records import Problem
from berry.pipeline.stages.problems import arithmetic
from berry.verifiers.specs.union import MathSpec

pytest.importorskip("torch")
from tests.models import train_tiny as tiny

TOOL = tiny.RECIPES["tiny-tool"]


def problem(prompt: str, operands: int) -> Problem:
    return Problem(id="p", prompt=prompt, verifier=MathSpec(answer="0"), meta={"operands": operands})


def test_a_long_sum_is_solved_by_calls_of_a_few_terms_and_a_short_one_in_the_head() -> None:
    long = tiny.with_a_tool(0, problem("12 + 5 - 3 * 7 + 8 - 2?", 6))
    assert long.tools
    assert long.turns == (
        (f"{tiny.OPEN}12+5-3*7+8{tiny.CLOSE}", True),
        ("\n<result>4</result>\n", False),
        (f"{tiny.OPEN}4-2{tiny.CLOSE}", True),
        ("\n<result>2</result>\n", False),
        ("2", True),
    )
    assert tiny.with_a_tool(0, problem("2 + 3?", 2)).turns == (("2+3=5\n5", True),)
    without = tiny.with_a_tool(1, problem("2 + 3 + 4 + 5?", 4))
    assert not without.tools
    assert without.turns == (("2+3=5\n5+4=9\n9+5=14\n14", True),)


@pytest.mark.parametrize("recipe", tiny.RECIPES.values(), ids=list(tiny.RECIPES))
def test_every_solution_ends_in_the_answer_and_comes_back_from_its_tokens(recipe: tiny.Recipe) -> None:
    coder = recipe.coder()
    for number, drawn in enumerate(arithmetic.draw(60, 3, operands=recipe.operands)):
        text = "".join(text for text, _ in recipe.example(number, drawn).turns)
        assert isinstance(drawn.verifier, MathSpec)
        assert text.rpartition("\n")[2] == drawn.verifier.answer
        assert coder.decode(coder.encode(text, add_special_tokens=False)) == text


def test_neither_the_prompt_nor_a_result_is_learned() -> None:
    coder = TOOL.coder()
    drawn = arithmetic.draw(8, 4, operands=(6, 8))
    tokens, labels = tiny.batch(coder, [tiny.with_a_tool(0, one) for one in drawn])
    for ids, learned in zip(tokens.tolist(), labels.tolist(), strict=True):
        wanted = coder.decode([t for t, label in zip(ids, learned, strict=True) if label != -100])
        assert wanted.endswith("</s>")
        assert "<tool_call>" in wanted
        assert "<result>" not in wanted
        assert "?" not in wanted


@pytest.mark.parametrize("name", tiny.RECIPES)
def test_a_tokenizer_in_the_checkout_is_the_one_that_its_recipe_makes(name: str) -> None:
    from berry.pipeline.engines.text.tokens import Tokens

    stored = Tokens(str(Path(tiny.__file__).parent / name)).tokenizer
    made = tiny.RECIPES[name].coder()
    assert stored.get_vocab() == made.get_vocab()
    assert stored.chat_template == made.chat_template


@pytest.mark.slow
def test_training_learns_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    recipe = replace(TOOL, every=10, threads=1)
    saved, out = tmp_path / "saved.pt", tmp_path / "model"
    for steps in (10, 20):
        tiny.train(recipe, out, checkpoint=saved, steps=steps, until=1.0, size=16, evaluated=8)
    first, last = map(json.loads, (out / "training.jsonl").read_text().splitlines())
    assert (first["step"], last["step"]) == (10, 20)
    assert last["loss"] < first["loss"] - 0.3
    assert (out / "model.safetensors").is_file()


@pytest.mark.slow
def test_the_model_in_the_checkout_is_better_by_15_points_with_its_tool() -> None:
    """As its training evaluated it; through the engine it is test_tool_runs.py that does. Trained anew, which takes 400
    steps and minutes, it is by `python tests/models/train_tiny.py tiny-tool`."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    coder = TOOL.coder()
    net = AutoModelForCausalLM.from_pretrained(Path(tiny.__file__).parent / "tiny-tool")
    drawn = arithmetic.draw(100, 77, operands=TOOL.evaluated)
    shares = {name: tiny.pass_at_1(net, coder, drawn, tools=tools) for name, tools in TOOL.ways.items()}
    assert shares["pass_at_1"] - shares["pass_at_1_without"] >= 0.15
