"""What vLLM adds to the contract: exact numbers, its prefix cache, new weights, priorities, and its death."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.build import build
from berry.pipeline.engines.vllm.engine import Vllm
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.stages.problems import arithmetic

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.engine]


def prompt(engine: Any, index: int = 0) -> list[int]:
    return engine.encode(arithmetic.draw(1, seed=21, first=index)[0].messages)


SAMPLINGS = [
    Sampling(top_logprobs=20),
    Sampling(temperature=1.5, top_logprobs=20),
    Sampling(temperature=0.7, top_p=0.95, top_logprobs=20),
    Sampling(temperature=1.3, top_k=3, top_logprobs=20),
    Sampling(temperature=1.2, min_p=0.2, top_k=5, top_p=0.9, top_logprobs=20),
    Sampling(temperature=0.0, top_p=0.5, top_logprobs=20),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
async def test_logprobs_and_entropies_are_of_the_distribution_that_was_sampled_from(
    vllm_engine: Vllm, sample: Any, drawn_from: Any, sampling: Sampling
):
    ids = prompt(vllm_engine)
    for out in (await sample(vllm_engine, ids, n=4, sampling=sampling)).values():
        rows = drawn_from([*ids, *out.token_ids], sampling)[len(ids) - 1 :]
        expected = [rows[i, token].item() for i, token in enumerate(out.token_ids)]
        assert out.logprobs == pytest.approx(expected, abs=1e-4)
        exact = (-(rows.exp() * rows).nan_to_num().sum(-1)).tolist()  # the top 20 of 21 leave next to nothing out
        assert out.entropies == pytest.approx(exact, abs=1e-3)
        assert await vllm_engine.logprobs(ids, out.token_ids, sampling) == pytest.approx(out.logprobs, abs=1e-4)
    assert await vllm_engine.logprobs(ids, [], sampling) == []


async def test_a_response_that_fills_the_context_can_be_recomputed(vllm_engine: Vllm):
    ids = prompt(vllm_engine)
    response = (ids * 20)[: vllm_engine.info.max_model_len - len(ids)]
    assert len(await vllm_engine.logprobs(ids, response, Sampling())) == len(response)


async def test_full_blocks_of_a_prefix_are_read_from_the_cache(vllm_engine: Vllm, sample: Any):
    block = vllm_engine.info.block_size
    ids = (prompt(vllm_engine, 3) * 20)[: 3 * block + 5]
    first = (await sample(vllm_engine, ids, until=Until(1)))[0]
    before = vllm_engine.counters()
    again = await sample(vllm_engine, ids, until=Until(1), n=4, seed=9)
    after = vllm_engine.counters()
    assert first.cached_tokens == 0
    assert [again[i].cached_tokens for i in range(4)] == [3 * block, 0, 0, 0]
    assert after.cached_tokens - before.cached_tokens == 4 * 3 * block
    assert after.prompt_tokens - before.prompt_tokens == 4 * len(ids)


async def test_equal_seeds_give_equal_tokens_whatever_is_batched_beside_them(vllm_engine: Vllm, sample: Any):
    alone = (await sample(vllm_engine, prompt(vllm_engine), seed=5))[0]
    crowd = [sample(vllm_engine, prompt(vllm_engine, i), n=4, seed=100 * i) for i in range(1, 9)]
    together, *_ = await asyncio.gather(sample(vllm_engine, prompt(vllm_engine), seed=5), *crowd)
    assert together[0].token_ids == alone.token_ids


async def test_samples_come_as_they_end_and_not_with_the_slowest(vllm_engine: Vllm):
    """While others still run; or, where all have ended before a busy machine wakes this process, the short ones first
    and not in the order in which they were asked for."""
    request = Request("uneven", prompt(vllm_engine), 24, Until(100), Sampling(temperature=1.6), 3)
    running, came = [], []
    async for sample in vllm_engine.generate(request):
        running.append(vllm_engine.counters().running)
        came.append(sample)
    lengths, order = [len(s.completion.token_ids) for s in came], [s.index for s in came]
    by_length = sum(lengths[:12]) < sum(lengths[12:]) and order != sorted(order)
    assert max(running[:12]) > 0 or by_length, (running, lengths, order)


async def test_lower_priorities_run_first(vllm_engine: Vllm):
    done: list[str] = []

    async def ask(name: str, priority: float, n: int) -> None:
        request = Request(name, prompt(vllm_engine), n, Until(40), Sampling(temperature=2.0), 3, priority)
        async for _ in vllm_engine.generate(request):
            pass
        done.append(name)

    filling = asyncio.ensure_future(ask("filling", 0.0, 32))
    await asyncio.sleep(0)
    later = [asyncio.ensure_future(ask(f"late-{i}", 1.5, 8)) for i in range(8)]
    await asyncio.sleep(0)
    urgent = asyncio.ensure_future(ask("urgent", 0.25, 8))
    await asyncio.gather(filling, urgent, *later)
    assert done.index("urgent") < min(done.index(f"late-{i}") for i in range(4, 8))


async def test_a_full_engine_reads_as_full(vllm_engine: Vllm, sample: Any):
    """From when it is first seen nearly full to when a sample is last seen waiting: all are asked for one by one."""
    load = asyncio.ensure_future(
        sample(vllm_engine, prompt(vllm_engine), n=320, until=Until(30), sampling=Sampling(temperature=2.0))
    )
    seen = []
    while not load.done():
        now = vllm_engine.counters()
        if now.waiting and (seen or now.running >= 24):
            seen.append(now)
        await asyncio.sleep(0.01)
    await load
    before, after = seen[0], seen[-1]
    mean = (after.running_integral - before.running_integral) / (after.settled_s - before.settled_s)
    assert 0.8 * 32 < mean <= 32


async def test_what_comes_of_cancelled_sequences_is_counted_as_late(vllm_engine: Vllm):
    assert vllm_engine.info.versions["runner"].endswith("ModelRunner")
    assert "ampler" in vllm_engine.info.versions["sampler"]
    before, left = vllm_engine.counters(), 0
    for attempt in range(20):  # a step must be under way when the word comes
        request = Request(f"left-{attempt}", prompt(vllm_engine), 16, Until(100), Sampling(temperature=2.0), 3)
        work = asyncio.ensure_future(_all(vllm_engine, request))
        while vllm_engine.counters().generated_tokens < before.generated_tokens + 16 * (attempt + 1):
            await asyncio.sleep(0.001)
        await vllm_engine.cancel(request.request_id)
        await work
        for _ in range(10):  # a busy host's engine is slow to say what it had still computed
            await asyncio.sleep(0.05)
            left = vllm_engine.counters().late_tokens - before.late_tokens
            if left:
                break
        if left:
            break
    assert 0 < left <= 20 * 16 * 4, "some steps of 16 sequences"


async def test_request_ids_must_differ(vllm_engine: Vllm):
    request = Request("twin", prompt(vllm_engine), 1, Until(50), Sampling(), 1)
    first = asyncio.ensure_future(_all(vllm_engine, request))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="twin"):
        await _all(vllm_engine, request)
    assert len(await first) == 1


async def test_new_weights_are_taken_under_load(
    vllm_engine: Vllm, sample: Any, tiny_folder: Path, tmp_path: Path, reference: Any
):
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    weights = load_file(other / "model.safetensors")
    save_file(
        {name: value * 0.9 for name, value in weights.items()}, other / "model.safetensors", metadata={"format": "pt"}
    )
    ids = (prompt(vllm_engine, 2) * 10)[:80]
    old = (await sample(vllm_engine, ids, until=Until(1)))[0]
    request = Request("load", prompt(vllm_engine), 64, Until(60), Sampling(temperature=2.0), 3)
    load = asyncio.ensure_future(_all(vllm_engine, request))
    await asyncio.sleep(0.02)
    swap = asyncio.ensure_future(vllm_engine.load_weights(str(other), "v1"))
    await asyncio.sleep(0)
    queued = asyncio.ensure_future(sample(vllm_engine, ids, until=Until(1)))
    assert {c.weights_version for c in await load} == {"v0"}
    await swap
    new = (await queued)[0]
    assert new.weights_version == vllm_engine.info.weights_version == "v1"
    assert new.cached_tokens == 0
    expected = reference([*ids, *new.token_ids], other)[-1, new.token_ids[0]].item()
    assert new.logprobs[0] == pytest.approx(expected, abs=1e-4)
    assert new.logprobs[0] != pytest.approx(old.logprobs[0], abs=1e-4) or new.token_ids != old.token_ids
    await vllm_engine.load_weights(str(tiny_folder), "v0")
    back = (await sample(vllm_engine, ids, until=Until(1)))[0]
    assert (back.token_ids, back.logprobs) == (old.token_ids, pytest.approx(old.logprobs, abs=1e-5))


async def test_twenty_swaps_under_load_lose_no_request_and_leave_no_stale_prefix(
    vllm_engine: Vllm, sample: Any, tiny_folder: Path, tmp_path: Path, reference: Any
):
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    weights = load_file(other / "model.safetensors")
    save_file({n: v * 0.9 for n, v in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    folders = {"v0": tiny_folder, "v1": other}
    ids = (prompt(vllm_engine, 2) * 10)[:80]
    asked = 0
    answers: list[Any] = []
    stop = False

    async def load(caller: int) -> None:
        nonlocal asked
        while not stop:
            asked += 1
            request = Request(f"load-{caller}-{asked}", ids, 1, Until(3), Sampling(temperature=2.0), asked)
            answers.extend(await _all(vllm_engine, request))

    callers = [asyncio.create_task(load(caller)) for caller in range(4)]
    for swap in range(1, 21):
        version = f"v{swap % 2}"
        await vllm_engine.load_weights(str(folders[version]), version)
        assert vllm_engine.info.weights_version == version
    stop = True
    await asyncio.gather(*callers)
    assert len(answers) == asked > 20
    assert {a.weights_version for a in answers} == {"v0", "v1"}
    for version, folder in folders.items():
        expected = (reference([*ids, 0], folder)[-1] / 2.0).log_softmax(-1)  # at temperature 2, as it was sampled
        for answer in (a for a in answers if a.weights_version == version):
            assert answer.logprobs[0] == pytest.approx(expected[answer.token_ids[0]].item(), abs=1e-4)
    assert vllm_engine.info.weights_version == "v0"


async def test_weights_that_are_not_there_leave_the_engine_as_it_was(vllm_engine: Vllm, sample: Any, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"config\.json"):
        await vllm_engine.load_weights(str(tmp_path), "v9")
    assert (await sample(vllm_engine, prompt(vllm_engine)))[0].weights_version == "v0"


@pytest.fixture
def damaged(tiny_folder: Path, tmp_path: Path):
    """`damaged(how)`: the model's folder with its weights half written, or of another shape."""
    from safetensors.torch import load_file, save_file

    def make(how: str) -> str:
        other = tmp_path / how
        shutil.copytree(tiny_folder, other)
        file = other / "model.safetensors"
        if how == "half":
            file.write_bytes(file.read_bytes()[:-1000])
        else:
            narrow = {n: v[:, :-1].contiguous() if v.dim() == 2 else v for n, v in load_file(file).items()}
            save_file(narrow, file, metadata={"format": "pt"})
        return str(other)

    return make


@pytest.mark.parametrize(("how", "says"), [("half", "half written"), ("shape", "weights of another shape")])
async def test_weights_that_do_not_fit_leave_the_engine_as_it_was(
    vllm_engine: Vllm, sample: Any, damaged: Any, how: str, says: str
):
    before = (await sample(vllm_engine, prompt(vllm_engine)))[0]
    with pytest.raises(ConfigError, match=says):
        await vllm_engine.load_weights(damaged(how), "v2")
    after = (await sample(vllm_engine, prompt(vllm_engine)))[0]
    assert after.weights_version == "v0"
    assert after.token_ids == before.token_ids


async def test_half_taken_weights_answer_nobody(vllm_engine: Vllm, shared: Any, damaged: Any, monkeypatch: Any):
    monkeypatch.setattr("berry.pipeline.engines.tensors.check_fits", lambda *_: None)
    with pytest.raises(EngineError, match="shape"):
        await vllm_engine.load_weights(damaged("shape"), "v2")
    with pytest.raises(EngineError, match="not running"):
        await _all(vllm_engine, Request("after", prompt(vllm_engine), 1, Until(5), Sampling(), 1))
    await shared.drop()
    assert list(shared.folder.iterdir()) == []


async def test_an_unknown_engine_argument_is_named(tiny_config: VllmEngine, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = build(tiny_config.model_copy(update={"extra": {"no_such_thing": 1}}))
    with pytest.raises(ConfigError, match=r"engine\.extra\.no_such_thing"):
        await engine.start()
    assert list(tmp_path.iterdir()) == []


async def test_a_dead_engine_says_so_and_says_why(vllm_engine: Vllm, shared: Any):
    core = next(c for c in psutil.Process().children(recursive=True) if "EngineCore" in " ".join(c.cmdline()))
    request = Request("doomed", prompt(vllm_engine), 16, Until(100), Sampling(temperature=2.0), 3)
    doomed = asyncio.ensure_future(_all(vllm_engine, request))
    await asyncio.sleep(0.02)
    core.kill()
    with pytest.raises(EngineError, match="engine-0"):
        await doomed
    with pytest.raises(EngineError):
        await _all(vllm_engine, replace(request, request_id="after"))
    assert any(path.is_socket() for path in shared.folder.glob("*/*"))
    await shared.drop()
    assert list(shared.folder.iterdir()) == []
    with pytest.raises(EngineError, match="not running"):
        await _all(vllm_engine, replace(request, request_id="closed"))


async def _all(engine: Any, request: Request) -> list[Any]:
    return [s.completion async for s in engine.generate(request)]
