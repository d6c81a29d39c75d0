"""Trains the test model: a Llama of 1.6 M parameters that works out arithmetic problems character by
character.

    python tests/models/train_tiny.py --out tests/models/tiny-arithmetic

Every batch is freshly drawn. Each 100 steps it samples fresh problems that were never trained on, at
temperature 1, and stops as soon as pass@1 reaches `--until`: the model is wanted half-good, so that
verification, pruning and learning have something to do. Some seven minutes on one core; a checkpoint beside
the output lets it go on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from berry.pipeline.records import Problem
from berry.pipeline.stages.problems import arithmetic
from berry.verifiers.specs.union import MathSpec

CHARACTERS = "0123456789+-*=? \n"
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
OPERANDS = (2, 4)  # drawn for training; the evaluation takes the harder default of `arithmetic.draw`
TRAIN_SEED, EVALUATION_SEED = 1, 2
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['content'] }}\n{% endif %}"
    "{% endfor %}"
)


def tokenizer() -> Any:
    """One token a character; text decodes back exactly."""
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *CHARACTERS))}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    characters.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=characters,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
        chat_template=CHAT_TEMPLATE,
    )


def model(coder: Any) -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(coder),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            pad_token_id=coder.pad_token_id,
            bos_token_id=coder.bos_token_id,
            eos_token_id=coder.eos_token_id,
            dtype="float32",
        )
    )


def prompt_ids(coder: Any, problem: Problem) -> list[int]:
    text = coder.apply_chat_template(problem.messages, tokenize=False, add_generation_prompt=True)
    return coder.encode(str(text), add_special_tokens=False)


def batch(coder: Any, problems: list[Problem]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, both (problems, longest); the loss counts the solution alone."""
    rows: list[tuple[list[int], int]] = []
    for problem in problems:
        prompt = prompt_ids(coder, problem)
        solution = coder.encode(arithmetic.worked(str(problem.prompt)), add_special_tokens=False)
        rows.append((prompt + solution + [coder.eos_token_id], len(prompt)))
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.full((len(rows), longest), coder.pad_token_id)
    labels = torch.full((len(rows), longest), -100)
    for row, (ids, start) in enumerate(rows):
        tokens[row, : len(ids)] = torch.tensor(ids)
        labels[row, start : len(ids)] = torch.tensor(ids[start:])
    return tokens, labels


@torch.inference_mode()
def pass_at_1(net: Any, coder: Any, problems: list[Problem]) -> float:
    """Share of problems whose one sample at temperature 1 ends in the right last line."""
    net.eval()
    prompts = [prompt_ids(coder, problem) for problem in problems]
    longest = max(map(len, prompts))
    tokens = torch.tensor([[coder.pad_token_id] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    out = net.generate(
        input_ids=tokens, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=96
    )
    net.train()
    right = 0
    for row, problem in zip(out, problems, strict=True):
        assert isinstance(problem.verifier, MathSpec)
        text = str(coder.decode(row[longest:], skip_special_tokens=True))
        right += text.rsplit("\n", 1)[-1] == problem.verifier.answer
    return right / len(problems)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--until", type=float, default=0.35, help="stop at this pass@1")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/train_tiny.pt"))
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    coder = tokenizer()
    net = model(coder)
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
    record: list[dict[str, float]] = []
    seen: set[str] = set()
    step, began = 0, time.monotonic()
    if options.checkpoint.exists():
        saved = torch.load(options.checkpoint)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        step, record, seen = saved["step"], saved["record"], saved["seen"]
        began -= record[-1]["minutes"] * 60
    options.checkpoint.parent.mkdir(parents=True, exist_ok=True)

    while step < options.steps and (not record or record[-1]["pass_at_1"] < options.until):
        problems = arithmetic.draw(options.batch, TRAIN_SEED, operands=OPERANDS, first=step * options.batch)
        seen.update(str(problem.prompt) for problem in problems)
        tokens, labels = batch(coder, problems)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / 100)
        loss = net(input_ids=tokens, attention_mask=(tokens != coder.pad_token_id).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 100:
            continue
        fresh = [p for p in arithmetic.draw(300, EVALUATION_SEED + step) if p.prompt not in seen]
        share = pass_at_1(net, coder, fresh)
        minutes = (time.monotonic() - began) / 60
        record.append({"step": step, "loss": float(loss.detach()), "pass_at_1": share, "minutes": minutes})
        print(json.dumps({k: round(v, 4) for k, v in record[-1].items()}), flush=True)
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "record": record}
        torch.save({**state, "seen": seen}, options.checkpoint)

    net.save_pretrained(options.out)
    coder.save_pretrained(options.out)
    lines = [{k: round(v, 4) for k, v in row.items()} for row in record]
    (options.out / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))


if __name__ == "__main__":
    main()
