"""Sends sampled log-probabilities from vLLM's engine process to its front end as bytes.

    worker: sampler's tensors ─► PlainLogprobs ─► scheduler slices them by request ─► msgpack ─► front end

vLLM sends three NumPy arrays for each token, which it packs and unpacks in Python: half of what log-probabilities cost
on a small model. The bytes of the same numbers are packed in C, and leave the garbage collector nothing to look at.

The third array is ranks: how many tokens of the vocabulary are as likely as the chosen one. Nobody reads them, and
counting goes through the whole vocabulary once more, by a kernel that has to be compiled first: it is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

_NUMBER_BYTES = 4


class PlainLogprobs(Struct, frozen=True, array_like=True, gc=False):
    """Token ids (int32) and their log-probabilities (float32) in nats, rows of `width` numbers one behind the other, a
    row a position: the chosen token, then the likeliest ones. `starts`: first row of each request, where requests have
    several. In place of vLLM's LogprobsLists, without ranks."""

    token_ids: bytes
    logprobs: bytes
    width: int
    starts: list[int] | None = None

    def slice_request(self, req_idx: int, num_positions: int) -> PlainLogprobs:
        """The rows of one request. vLLM's scheduler calls this, hence the name and the arguments."""
        row = req_idx if self.starts is None else self.starts[req_idx]
        size = self.width * _NUMBER_BYTES
        start, end = row * size, (row + num_positions) * size
        return PlainLogprobs(self.token_ids[start:end], self.logprobs[start:end], self.width)

    def narrowed(self, width: int) -> PlainLogprobs:
        """The first numbers of each row: other requests may have asked for more."""
        if width == self.width:
            return self
        rows = (np.frombuffer(numbers, np.int32).reshape(-1, self.width) for numbers in (self.token_ids, self.logprobs))
        token_ids, logprobs = (row[:, :width].tobytes() for row in rows)
        return PlainLogprobs(token_ids, logprobs, width)


def plain(token_ids: np.ndarray, logprobs: np.ndarray, starts: list[int] | None = None) -> PlainLogprobs:
    """Of arrays of shape (rows, width)."""
    width = logprobs.shape[1]
    return PlainLogprobs(token_ids.astype(np.int32).tobytes(), logprobs.astype(np.float32).tobytes(), width, starts)


def send() -> None:
    """Has the sampler of this process give `PlainLogprobs` from now on, and count no ranks."""
    import vllm.v1.sample.sampler as module
    from vllm.v1.outputs import LogprobsTensors

    sampler: Any = module
    sampler.batched_count_greater_than = _no_ranks

    own = LogprobsTensors.tolists
    if getattr(own, "is_plain", False):
        return

    def tolists(self: Any, cu_num_generated_tokens: list[int] | None = None) -> PlainLogprobs:
        ids, values, _, starts = own(self, cu_num_generated_tokens)
        return plain(ids, values, starts)

    tolists.is_plain = True  # type: ignore[attr-defined]
    LogprobsTensors.tolists = tolists  # type: ignore[method-assign, assignment]


def _no_ranks(logprobs: Any, _chosen: Any) -> Any:
    return logprobs.new_zeros(len(logprobs), dtype=int)


def receive(decoder: Any) -> None:
    """Has a front end's MsgpackDecoder expect `PlainLogprobs` from now on."""
    import msgspec
    from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs

    one = _with_field(EngineCoreOutput, "new_logprobs", PlainLogprobs | None)
    step = _with_field(EngineCoreOutputs, "outputs", list[one])
    decoder.decoder = msgspec.msgpack.Decoder(step, ext_hook=decoder.ext_hook, dec_hook=decoder.dec_hook)


def _with_field(struct: Any, name: str, kind: Any) -> Any:
    """A subclass of this msgspec Struct whose field `name` is of type `kind`. Order and defaults are the same: fields
    are known by their place on the wire."""
    import msgspec

    fields: list[Any] = []
    for field in msgspec.structs.fields(struct):
        default = () if field.required else (msgspec.field(default=field.default),)
        if field.default_factory is not msgspec.NODEFAULT:
            default = (msgspec.field(default_factory=field.default_factory),)
        fields.append((field.name, kind if field.name == name else field.type, *default))
    return msgspec.defstruct(struct.__name__, fields, bases=(struct,))
