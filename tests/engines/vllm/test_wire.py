"""Log-probabilities as plain numbers between vLLM's processes: the same ones as vLLM's own arrays bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from berry.pipeline.engines.vllm import compat, wire

pytestmark = [pytest.mark.slow]

SEQUENCES, TOP = 5, 3


@pytest.fixture
def tensors(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a sampler gives for one step; vLLM's own conversion is put back afterwards."""
    compat.load()
    import torch
    from vllm.v1.outputs import LogprobsTensors

    monkeypatch.setattr(LogprobsTensors, "tolists", LogprobsTensors.tolists)
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(SEQUENCES, TOP + 1, generator=generator) - 5
    values[2, 3] = -torch.inf  # beyond top-k
    ids = torch.randint(0, 150_000, values.shape, generator=generator, dtype=torch.int32)
    return LogprobsTensors(ids, values, torch.ones(SEQUENCES, dtype=torch.int64))


def over_the_wire(lists: Any, decoder: Any) -> Any:
    """A step's outputs as the front end gets them, each sequence with its slice of `lists`."""
    from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
    from vllm.v1.serial_utils import MsgpackEncoder

    outputs = [
        EngineCoreOutput(str(i), [i], lists.slice_request(i, 1), finish_reason=FinishReason.LENGTH)
        for i in range(SEQUENCES)
    ]
    buffers: Any = MsgpackEncoder().encode(EngineCoreOutputs(outputs=outputs, engine_index=7))
    return decoder.decode([bytearray(buffer) for buffer in buffers])


def rows(plain: wire.PlainLogprobs) -> tuple[list[list[int]], list[list[float]]]:
    """Token ids and log-probabilities, a list a position."""
    ids, values = np.frombuffer(plain.token_ids, np.int32), np.frombuffer(plain.logprobs, np.float32)
    return ids.reshape(-1, plain.width).tolist(), values.reshape(-1, plain.width).tolist()


def decoder() -> Any:
    from vllm.v1.engine import EngineCoreOutputs
    from vllm.v1.serial_utils import MsgpackDecoder

    return MsgpackDecoder(EngineCoreOutputs)


def test_they_are_those_of_the_arrays(tensors: Any) -> None:
    arrays = over_the_wire(tensors.tolists(), decoder())
    plain = decoder()
    wire.receive(plain)
    wire.send()
    wire.send()
    numbers = over_the_wire(tensors.tolists(), plain)
    assert (numbers.engine_index, len(numbers.outputs)) == (7, SEQUENCES)
    for ours, theirs in zip(numbers.outputs, arrays.outputs, strict=True):
        assert (ours.request_id, ours.new_token_ids, ours.finished) == (theirs.request_id, theirs.new_token_ids, True)
        assert type(ours.new_logprobs) is wire.PlainLogprobs
        assert rows(ours.new_logprobs) == rows(wire.plain(*theirs.new_logprobs[:2]))


def test_outputs_without_them_come_through(tensors: Any) -> None:
    from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, UtilityOutput
    from vllm.v1.serial_utils import MsgpackEncoder

    plain = decoder()
    wire.receive(plain)
    step = EngineCoreOutputs(
        outputs=[EngineCoreOutput("a", [1], pooling_output=tensors.logprobs)],
        utility_output=UtilityOutput(3),
        finished_requests={"a"},
        timestamp=2.5,
    )
    buffers: Any = MsgpackEncoder().encode(step)
    found = plain.decode([bytearray(buffer) for buffer in buffers])
    assert (found.timestamp, found.finished_requests, found.utility_output.call_id) == (2.5, {"a"}, 3)
    assert found.outputs[0].new_logprobs is None
    np.testing.assert_array_equal(found.outputs[0].pooling_output, tensors.logprobs)


def test_a_request_with_several_positions_gets_its_rows(tensors: Any) -> None:
    starts = [0, 2, 5]
    arrays = tensors.tolists(starts).slice_request(1, 3)
    wire.send()
    numbers = tensors.tolists(starts).slice_request(1, 3)
    assert rows(numbers) == (arrays.logprob_token_ids.tolist(), arrays.logprobs.tolist())
    assert numbers.starts is None
    later = numbers.slice_request(1, 2)  # as the front end leaves positions out
    assert rows(later) == (arrays.logprob_token_ids[1:].tolist(), arrays.logprobs[1:].tolist())
    assert rows(later.narrowed(2)) == (arrays.logprob_token_ids[1:, :2].tolist(), arrays.logprobs[1:, :2].tolist())
