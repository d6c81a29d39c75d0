"""Responses with turns of tools or of an environment as messages: what a trainer makes of them is what was sampled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.tools import PythonTool, SqlTool
from berry.pipeline.core.events import Completion
from berry.pipeline.engines.base import Request, Sample
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.errors import InputError
from berry.pipeline.records import Finish
from berry.pipeline.schema import MESSAGE
from berry.pipeline.stages.export.export import MANIFEST, ExportRequest, export
from berry.pipeline.stages.export.turns import Conversations
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.sources import survey
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.run.directory import RunDir, prepare
from berry.sandboxes.sessions import SessionCall, SessionReply
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest
from tests.engines.test_call_templates import HEADERS, LLAMA, LLAMA_CALL
from tests.stages.export.conftest import Clerk
from tests.stages.export.test_exactness import byte_tokenizer

SPECIAL = ["<|im_start|>", "<|im_end|>"]
_CALL = (
    "{% for c in m.tool_calls or [] %}{{ '\\n' if m.content else '' }}{{ '<tool_call>\\n{\"name\": \"' }}"
    "{{ c.function.name }}{{ '\", \"arguments\": ' }}{{ c.function.arguments | tojson }}{{ '}\\n</tool_call>' }}"
    "{% endfor %}"
)
TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\\n' + tools | tojson + '<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\\n' }}"
    "{% generation %}{{ m.content }}" + _CALL + "{{ '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% elif m.role == 'tool' %}"
    "{{ '<|im_start|>tool\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""As of the Hermes family, with the marks by which TRL knows what the model says."""
TIGHT = TEMPLATE.replace("{% endgeneration %}{{ '\\n' }}", "{% endgeneration %}")
"""Nothing behind the end of the model's turns: verl has the model learn all that a message is rendered to."""
KNOWS_NO_CALLS = TEMPLATE.replace(_CALL, "")
WRITTEN = (
    'Let me see.\n<tool_call>\n{"name": "python", "arguments": {"code": "print(\\"ü\\")\\n6 * 7"}}\n</tool_call>',
    '<tool_call>{"arguments":{"code":"6*7"},"name":"python"}</tool_call>',  # not as the template writes it
    "<tool_call>\n{6 * 7\n</tool_call>",
)
RESULT = 'two\n"lines" – \\n <|im_end|>'
TOOLS: dict[str, Any] = {"tools": [{"type": "python"}], "calls": {"type": "tool_call"}}
EPISODES: dict[str, Any] = {"environment": {"target": "ask.py:Ask", "source": "class Ask:\n    pass\n"}}


class Caller(Clerk):
    """Calls a tool, or speaks to the environment, once, and then answers."""

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        tokenizer = self._tokens.tokenizer
        prompt = tokenizer.decode(request.prompt_ids)
        turn = prompt.count("<|im_start|>assistant") + prompt.count("<|start_header_id|>assistant")
        is_llama = tokenizer.eos_token == "<|eot_id|>"
        for index in range(request.n):
            calls = turn == 1 and "tools" in self._tokens._arguments
            text = f"It is {turn}." + "\n" * (not is_llama)
            if calls:
                text = LLAMA_CALL if is_llama else WRITTEN[(request.seed + index) % 3]
            ended = is_llama or not calls
            ids = tokenizer.encode(text + tokenizer.eos_token * ended, add_special_tokens=False)
            finish = Finish.STOP if ended else Finish.STEP
            yield Sample(index, Completion(tuple(ids), text, finish, (-0.25,) * len(ids)))


async def _says(request: SessionCall) -> SessionReply:
    if request.program is None:
        return SessionReply(RESULT, ms=1.0)
    return SessionReply(json.dumps({"done": True} if request.past else {"content": "No, <|im_end|>", "role": "user"}))


async def _passes(_: CheckRequest) -> Verdict:
    return verdict(Reason.CORRECT, answer="")


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., RunDir]:
    """made(rollout, template=…) -> a run of Caller's."""

    def make(rollout: dict[str, Any], *, template: str = TEMPLATE, specials: Sequence[str] = SPECIAL) -> RunDir:
        folder = tmp_path / "model"
        tokenizer = byte_tokenizer()
        end = "<|eot_id|>" if "<|eot_id|>" in specials else "<|im_end|>"
        tokenizer.add_special_tokens({"additional_special_tokens": list(specials), "eos_token": end})
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").touch()
        raw = {
            "name": "calls",
            "problems": [{"type": "arithmetic", "count": 3, "seed": 4}],
            "engine": {"type": "vllm", "model": str(folder), "max_model_len": 4096},
            "rollout": {
                "policy": {"type": "fixed", "branching": [3]},
                "step": {"type": "delimiter", "delimiters": ["\n\n"]},
                "sampling": {"max_tokens": 2000},
                **rollout,
            },
            "pruning": [{"type": "verdict"}],
        }
        config = validate(raw, RunConfig, where="test")
        found = survey(config.problems)
        run, _ = prepare(
            str(tmp_path / "run"), config, {"problems": {"count": found.count, "digest": found.digest}, "berry": "test"}
        )
        arguments: dict[str, Any] = config.engine.template_args  # type: ignore[union-attr]

        async def work() -> None:
            engine = Caller(Tokens(str(folder), arguments=arguments), "caller")
            engine.info = engine.info.__class__("caller", "caller", 4096, 32, 16)
            worker = LeaseWorker(config, run.location, engine, _passes, "test", call=_says)
            for lease in iter_leases(config.problems, size=config.storage.lease_problems, skip=()):
                await worker.run(lease)
            await worker.close()

        asyncio.run(work())
        return run

    return make


def exported(run: RunDir, folder: Path, trainer: str | None = None, **request: Any) -> list[dict[str, Any]]:
    export(run, ExportRequest("sft", trainer, heldout_share=0.0, **request), str(folder))
    return pq.read_table(folder / "train.parquet").to_pylist()


def test_calls_and_results_are_messages_that_come_back_exactly(made, tmp_path: Path) -> None:
    rows = exported(made(TOOLS), tmp_path / "text")
    assert json.loads((tmp_path / "text" / MANIFEST).read_text())["exactness"]["exact_share"] == 1.0
    said = {}
    for row in rows:
        [_, call, result, answer] = row["messages"]
        assert [m["role"] for m in (call, result, answer)] == ["assistant", "tool", "assistant"]
        said[call["content"]] = call["tool_calls"], result["content"], result["name"]
        assert json.loads(row["tools"])[0]["function"]["name"] == "python"
        assert answer["content"] == "It is 2.\n"
    result = RESULT.replace("<|im_end|>", "< |im_end|>")
    function = {"name": "python", "arguments": {"code": 'print("ü")\n6 * 7'}}
    assert said.pop("Let me see.") == ([{"type": "function", "function": function}], result, "python")
    assert said.pop(WRITTEN[1]) == (None, result, None)
    [(calls, fault, name)] = said.values()
    assert (calls, name) == (None, None)
    assert fault.startswith("Error: the call is no JSON")


def test_calls_are_text_where_the_template_knows_none(made, tmp_path: Path) -> None:
    rows = exported(made(TOOLS, template=KNOWS_NO_CALLS), tmp_path / "text")
    assert json.loads((tmp_path / "text" / MANIFEST).read_text())["exactness"]["exact_share"] == 1.0
    assert {row["messages"][1]["content"] for row in rows} == set(WRITTEN)
    assert set(rows[0]["messages"][0]) == {"role", "content"}


def test_calls_that_are_whole_turns_are_text_and_quoted_results_are_read_back(made, tmp_path: Path) -> None:
    run = made({"tools": TOOLS["tools"], "calls": {"type": "llama"}}, template=LLAMA, specials=HEADERS)
    rows = exported(run, tmp_path / "text")
    exactness = json.loads((tmp_path / "text" / MANIFEST).read_text())["exactness"]
    assert (exactness["exact_share"], exactness["changed_token_share"]) == (1.0, 0.0)
    for row in rows:
        assert [(m["role"], m["content"]) for m in row["messages"][1:]] == [
            ("assistant", LLAMA_CALL),
            ("tool", RESULT),
            ("assistant", "It is 2."),
        ]


def test_calls_of_tools_with_different_arguments_are_text(made, tmp_path: Path) -> None:
    sql = {"type": "sql", "setup": "create table t (a int)"}
    rows = exported(made({**TOOLS, "tools": [*TOOLS["tools"], sql]}), tmp_path / "text")
    assert json.loads((tmp_path / "text" / MANIFEST).read_text())["exactness"]["exact_share"] == 1.0
    assert {row["messages"][1]["content"] for row in rows} == set(WRITTEN)
    assert [tool["function"]["name"] for tool in json.loads(rows[0]["tools"])] == ["python", "sql"]


def test_an_episode_is_a_conversation(made, tmp_path: Path) -> None:
    run = made(EPISODES)
    for trainer, column in (("trl", "messages"), ("verl", "messages"), ("openrlhf", "input")):
        rows = exported(run, tmp_path / trainer, trainer)
        assert json.loads((tmp_path / trainer / MANIFEST).read_text())["exactness"]["exact_share"] == 1.0
        for row in rows:
            assert [(m["role"], m["content"]) for m in row[column][1:]] == [
                ("assistant", "It is 1.\n"),
                ("user", "No, < |im_end|>"),
                ("assistant", "It is 2.\n"),
            ]
            assert "tools" not in row


def test_a_trainer_that_tells_its_template_of_no_tools_is_refused(made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--for openrlhf: .*--tokens"):
        exported(made(TOOLS), tmp_path / "text", "openrlhf")


def test_verl_reads_the_tools_as_the_template_was_given_them(made, tmp_path: Path) -> None:
    run = made(TOOLS)
    [row, *_] = exported(run, tmp_path / "verl", "verl")
    assert json.dumps(row["tools"]) == exported(run, tmp_path / "trl")[0]["tools"]


def test_tools_that_columns_would_change_are_refused_for_verl() -> None:
    """Parquet gives each description the fields of the others."""
    both = [PythonTool().description, SqlTool().description]
    made = Conversations(lambda _: [], lambda _: "", lambda _, __: None, MESSAGE, both, None)
    with pytest.raises(InputError, match=r"--for verl: .*--tokens"):
        made.tools_as("columns")
    assert made.tools_as("json") == (pa.string(), json.dumps(both, ensure_ascii=False))


def trained(ids: list[int], labels: list[int], end: int) -> list[int]:
    """Labels with the ends of those turns that the engine ended behind a call: a trainer has the model say them."""
    return [
        token if label == -100 and at and labels[at - 1] != -100 and token == end else label
        for at, (token, label) in enumerate(zip(ids, labels, strict=True))
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rollout", [TOOLS, EPISODES], ids=["tools", "episodes"])
def test_trl_trains_on_the_sampled_ids_and_the_ends_of_turns(made, tmp_path: Path, rollout: dict[str, Any]) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed (pip install 'berry-pipeline[dev]')")
    from datasets import load_dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    run = made(rollout)
    exported(run, tmp_path / "text")
    tokens = exported(run, tmp_path / "tokens", tokens=True)
    data = load_dataset("parquet", data_dir=str(tmp_path / "text"), split="train", cache_dir=str(tmp_path / "cache"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape))
    config = trl.SFTConfig(
        output_dir=str(tmp_path / "trained"),
        assistant_only_loss=True,
        per_device_train_batch_size=len(tokens),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        max_length=4096,
    )
    trainer = trl.SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
    read = trainer.train_dataset
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    behind = tokenizer.encode("\n")
    learnt, ends = 0, 1 if rollout is TOOLS else 0  # of turns that the engine ended
    for ids, labels, wanted in zip(read["input_ids"], read["labels"], tokens, strict=True):
        assert ids == wanted["input_ids"] + behind
        assert labels == [*trained(wanted["input_ids"], wanted["labels"], end), -100]
        learnt += sum(wanted["loss_mask"]) + ends
        assert sum(label != -100 for label in labels) == sum(wanted["loss_mask"]) + ends
    [batch] = trainer.get_train_dataloader()
    assert int((batch["labels"] != -100).sum()) == learnt


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rollout", [TOOLS, EPISODES], ids=["tools", "episodes"])
def test_verl_trains_on_the_sampled_ids_and_the_ends_of_turns(made, tmp_path: Path, rollout: dict[str, Any]) -> None:
    pytest.importorskip("verl", reason="docs/exports.md says how to install it")
    pytest.importorskip("tensordict", reason="docs/exports.md says how to install it")
    from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]
    from transformers import AutoTokenizer
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset  # pyright: ignore[reportMissingImports]

    run = made(rollout, template=TIGHT)
    exported(run, tmp_path / "text", "verl")
    tokens = exported(run, tmp_path / "tokens", tokens=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = OmegaConf.create({"max_length": 4096, "pad_mode": "no_padding"})
    read = MultiTurnSFTDataset(str(tmp_path / "text" / "train.parquet"), tokenizer, config)
    for row, wanted in zip((read[at] for at in range(len(read))), tokens, strict=True):
        assert row["input_ids"].tolist() == wanted["input_ids"]
        labels = trained(wanted["input_ids"], wanted["labels"], end)
        assert row["loss_mask"].tolist() == [int(label != -100) for label in labels]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_openrlhf_trains_on_the_sampled_ids_of_an_episode(made, tmp_path: Path) -> None:
    pytest.importorskip("openrlhf", reason="docs/exports.md says how to install it")
    from datasets import load_dataset
    from openrlhf.datasets import SFTDataset  # pyright: ignore[reportMissingImports]
    from transformers import AutoTokenizer

    run = made(EPISODES, template=TIGHT)
    exported(run, tmp_path / "text", "openrlhf")
    tokens = exported(run, tmp_path / "tokens", tokens=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    rows = load_dataset("parquet", data_files=str(tmp_path / "text" / "train.parquet"), split="train")
    keys = SimpleNamespace(apply_chat_template=True, tokenizer_chat_template=None, input_key="input", output_key=None)
    strategy = SimpleNamespace(args=SimpleNamespace(data=keys), is_rank_0=lambda: False)
    read = SFTDataset(rows, tokenizer, 4096, strategy, num_processors=1, multiturn=True)
    for (ids, _, mask), wanted in zip((read[at] for at in range(len(read))), tokens, strict=True):
        assert ids.flatten().tolist() == wanted["input_ids"]
        assert mask.flatten().tolist()[:-1] == wanted["loss_mask"][1:], "OpenRLHF's is of the token that comes next"
