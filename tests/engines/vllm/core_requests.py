"""Opens requests at vLLM's own front end, without an engine core behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def open_request(processor: Any, name: str, prompt_ids: Sequence[int], settings: Any) -> Any:
    """Adds a request of these sampling parameters to an OutputProcessor; the collector in which its outputs lie."""
    from vllm.v1.engine import EngineCoreRequest
    from vllm.v1.engine.output_processor import RequestOutputCollector

    request = EngineCoreRequest(
        request_id=name,
        external_req_id=name,
        prompt_token_ids=list(prompt_ids),
        mm_features=None,
        sampling_params=settings,
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
    )
    queue = RequestOutputCollector(settings.output_kind, name)
    processor.add_request(request, None, queue=queue)
    return queue
