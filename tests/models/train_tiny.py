"""Trains the test models from nothing: small Llamas that work out sums, one of them with a tool.

    python tests/models/train_tiny.py tiny-arithmetic
    python tests/models/train_tiny.py tiny-tool

Every batch is freshly drawn. At each evaluation it samples fresh problems that were never trained on, at temperature 1,
and stops as soon as pass@1 reaches `--until`: the first model is wanted half-good, so that verification, pruning and
learning have something to do. A checkpoint beside the output lets it go on.

`tiny-tool` learns both ways at once. Told of a tool, it works out short sums in its head and writes long ones as calls,
a few terms a call, whose results it is given; told of none, it writes running totals as `tiny-arithmetic` does.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from berry.pipeline.config.sections.rollout.tools import PythonTool
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems import arithmetic
from berry.verifiers.specs.union import MathSpec

CHARACTERS = "0123456789+-*=? \n"
PRINTABLE = "".join(map(chr, range(32, 127))) + "\n"
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
OPEN, CLOSE = '<tool_call>{"name": "python", "arguments": {"code": "', '"}}</tool_call>'
PIECES = ("<tools>", OPEN.removeprefix("<tool_call>"), "<tool_call>", '"}}', "</tool_call>", "<result>", "</result>")
SPACED = (" + ", " - ", " * ")
TRAIN_SEED, EVALUATION_SEED = 1, 2
IN_HEAD = 3  # operands of the longest sum that is worked out without the tool
TERMS_A_CALL = 4
MOST_CALLS = 4
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['content'] }}\n{% endif %}"
    "{% endfor %}"
)
TOOL_TEMPLATE = (
    "{{ bos_token }}{% if tools %}<tools>{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'tool' %}<result>{{ message['content'] }}</result>\n"
    "{% elif message['role'] != 'system' %}{{ message['content'] }}\n{% endif %}"
    "{% endfor %}"
)


@dataclass(frozen=True, slots=True)
class Example:
    """A problem as it is solved. `turns`: texts after the prompt, each with whether the model is to learn it; a tool's
    result is given."""

    problem: Problem
    turns: tuple[tuple[str, bool], ...]
    tools: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is made. `operands`: drawn for training; `evaluated`: for the evaluations, each under its name with
    whether the model is told of a tool. `decay`: the learning rate falls to a tenth along a cosine."""

    coder: Callable[[], Any]
    net: dict[str, int]
    example: Callable[[int, Problem], Example]
    operands: tuple[int, int]
    evaluated: tuple[int, int]
    ways: dict[str, bool]
    steps: int
    every: int
    until: float
    rate: float
    decay: bool = False
    threads: int = 1


def tokenizer(texts: Sequence[str], template: str) -> Any:
    """A token for each of `texts`, the longest first; text of them decodes back exactly."""
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *texts))}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    long = "".join(f"{re.escape(text)}|" for text in sorted(texts, key=len, reverse=True) if len(text) > 1)
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{long}[\s\S]"), "isolated")
    characters.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=characters,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
        chat_template=template,
    )


def model(coder: Any, sizes: dict[str, int]) -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(coder),
            **sizes,  # type: ignore[arg-type]
            max_position_embeddings=256,
            tie_word_embeddings=True,
            pad_token_id=coder.pad_token_id,
            bos_token_id=coder.bos_token_id,
            eos_token_id=coder.eos_token_id,
            dtype="float32",
        )
    )


def in_head(_: int, problem: Problem) -> Example:
    return Example(problem, ((arithmetic.worked(str(problem.prompt)), True),))


def with_a_tool(number: int, problem: Problem) -> Example:
    """Every second problem is solved without a tool, and of the others the short ones."""
    plain = in_head(number, problem)
    if number % 2:
        return plain
    if problem.meta["operands"] <= IN_HEAD:
        return Example(problem, plain.turns, tools=True)
    turns: list[tuple[str, bool]] = []
    total = ""
    for part in parts(str(problem.prompt)):
        code = total + part
        total = str(eval(code))  # a sum that this file has drawn
        turns += [(f"{OPEN}{code}{CLOSE}", True), (f"\n<result>{total}</result>\n", False)]
    return Example(problem, (*turns, (total, True)), tools=True)


def parts(prompt: str) -> list[str]:
    """A sum in pieces of as many terms as one call takes: "12+5-3*7+8", "-2"."""
    terms = re.findall(r"[+-]?\d+(?:\*\d+)*", prompt.removesuffix("?").replace(" ", ""))
    return ["".join(terms[at : at + TERMS_A_CALL]) for at in range(0, len(terms), TERMS_A_CALL)]


RECIPES = {
    "tiny-arithmetic": Recipe(
        coder=lambda: tokenizer(CHARACTERS, CHAT_TEMPLATE),
        net={
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
        },
        example=in_head,
        operands=(2, 4),
        evaluated=(3, 4),
        ways={"pass_at_1": False},
        steps=2400,
        every=100,
        until=0.35,
        rate=2e-3,
    ),
    "tiny-tool": Recipe(
        coder=lambda: tokenizer((*PRINTABLE, *SPACED, *PIECES), TOOL_TEMPLATE),
        net={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
        },
        example=with_a_tool,
        operands=(2, 8),
        evaluated=(6, 8),
        ways={"pass_at_1": True, "pass_at_1_without": False},
        steps=400,
        every=200,
        until=0.9,
        rate=4e-3,
        decay=True,
        threads=2,
    ),
}


def prompt_ids(coder: Any, problem: Problem, *, tools: bool) -> list[int]:
    told = [PythonTool().description] if tools else None
    text = coder.apply_chat_template(problem.messages, tools=told, tokenize=False, add_generation_prompt=True)
    return coder.encode(str(text), add_special_tokens=False)


def batch(coder: Any, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, both (examples, longest); the loss counts what the model is to say alone."""
    rows: list[tuple[list[int], list[int]]] = []
    for example in examples:
        ids = prompt_ids(coder, example.problem, tools=example.tools)
        learned = [-100] * len(ids)
        for text, learns in example.turns:
            new = coder.encode(text, add_special_tokens=False)
            ids, learned = ids + new, learned + (new if learns else [-100] * len(new))
        rows.append(([*ids, coder.eos_token_id], [*learned, coder.eos_token_id]))
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.full((len(rows), longest), coder.pad_token_id)
    labels = torch.full((len(rows), longest), -100)
    for row, (ids, learned) in enumerate(rows):
        tokens[row, : len(ids)] = torch.tensor(ids)
        labels[row, : len(ids)] = torch.tensor(learned)
    return tokens, labels


@torch.inference_mode()
def pass_at_1(net: Any, coder: Any, problems: Sequence[Problem], *, tools: bool) -> float:
    """Share of problems whose one sample at temperature 1 ends in the right last line."""
    net.eval()
    texts = [""] * len(problems)
    going = list(range(len(problems)))
    ends = [coder.eos_token_id, *([coder.convert_tokens_to_ids("</tool_call>")] if tools else [])]
    for _ in range(1 + (MOST_CALLS if tools else 0)):
        prompts = [
            prompt_ids(coder, problems[i], tools=tools) + coder.encode(texts[i], add_special_tokens=False)
            for i in going
        ]
        longest = max(map(len, prompts))
        tokens = torch.tensor([[coder.pad_token_id] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        out = net.generate(
            input_ids=tokens,
            attention_mask=mask,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=96,
            eos_token_id=ends,
        )
        called: list[int] = []
        for i, row in zip(going, out, strict=True):
            texts[i] += str(coder.decode(row[longest:], skip_special_tokens=True))
            if tools and texts[i].endswith(CLOSE):
                texts[i] += f"\n<result>{computed(texts[i].rpartition(OPEN)[2].removesuffix(CLOSE))}</result>\n"
                called.append(i)
        going = called
        if not going:
            break
    net.train()
    answers = [problem.verifier.answer for problem in problems if isinstance(problem.verifier, MathSpec)]
    return sum(t.rsplit("\n", 1)[-1] == a for t, a in zip(texts, answers, strict=True)) / len(problems)


def computed(code: str) -> str:
    """What a sum comes to, as the tool says it; anything else is an error."""
    if not re.fullmatch(r"[0-9+*-]+", code):
        return "SyntaxError"
    try:
        return str(eval(code))
    except (SyntaxError, ValueError):
        return "SyntaxError"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(RECIPES))
    parser.add_argument("--out", type=Path, help="folder to write to; the model's own in this checkout if not given")
    parser.add_argument("--steps", type=int, help="at most so many")
    parser.add_argument("--until", type=float, help="stop at this pass@1")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--checkpoint", type=Path, help="build/MODEL.pt if not given")
    options = parser.parse_args()
    recipe = RECIPES[options.model]
    train(
        recipe,
        options.out or Path(__file__).parent / options.model,
        checkpoint=options.checkpoint or Path("build") / f"{options.model}.pt",
        steps=options.steps or recipe.steps,
        until=recipe.until if options.until is None else options.until,
        size=options.batch,
    )


def train(
    recipe: Recipe, out: Path, *, checkpoint: Path, steps: int, until: float, size: int = 64, evaluated: int = 300
) -> None:
    """Trains a model until an evaluation passes `until`, and writes it with the record of its evaluations. `size`:
    problems a step; `evaluated`: problems an evaluation."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(0)
    coder = recipe.coder()
    net = model(coder, recipe.net)
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    record: list[dict[str, float]] = []
    seen: set[str] = set()
    step, began = 0, time.monotonic()
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        step, record, seen = saved["step"], saved["record"], saved["seen"]
        began -= record[-1]["minutes"] * 60
    checkpoint.parent.mkdir(parents=True, exist_ok=True)

    while step < steps and (not record or record[-1]["pass_at_1"] < until):
        problems = arithmetic.draw(size, TRAIN_SEED, operands=recipe.operands, first=step * size)
        seen.update(str(problem.prompt) for problem in problems)
        tokens, labels = batch(coder, [recipe.example(i, problem) for i, problem in enumerate(problems)])
        slowed = 0.55 + 0.45 * math.cos(math.pi * step / steps) if recipe.decay else 1.0
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1.0, (step + 1) / 100) * slowed
        loss = net(input_ids=tokens, attention_mask=(tokens != coder.pad_token_id).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % recipe.every and step != steps:
            continue
        drawn = arithmetic.draw(evaluated, EVALUATION_SEED + step, operands=recipe.evaluated)
        fresh = [p for p in drawn if p.prompt not in seen]
        shares = {name: pass_at_1(net, coder, fresh, tools=tools) for name, tools in recipe.ways.items()}
        minutes = (time.monotonic() - began) / 60
        record.append({"step": step, "loss": float(loss.detach()), **shares, "minutes": minutes})
        print(json.dumps({k: round(v, 4) for k, v in record[-1].items()}), flush=True)
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "record": record}
        torch.save({**state, "seen": seen}, checkpoint)

    net.save_pretrained(out)
    coder.save_pretrained(out)
    lines = [{k: round(v, 4) for k, v in row.items()} for row in record]
    (out / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))


if __name__ == "__main__":
    main()
