"""Runs the parts of one vLLM engine on several nodes, through vLLM's own Ray executor.

    engine's process ─► Executor ─► one Ray actor for each GPU of the placement group that the engine's actor is in

Imported by the engine's process and, with its configuration, by each part. When a part dies vLLM ends the engine, and
its actor with it; Ray ends the parts once the engine's process is gone. Nothing here imports Ray: vLLM does.
"""

from __future__ import annotations

import os

from vllm.platforms import current_platform
from vllm.v1.executor.ray_executor_v2 import RayExecutorV2

from berry.pipeline.engines.vllm import worker  # noqa: F401  # it ends this process with the engine's actor

PART = "GPU"
"""The Ray resource of which each part takes one. vLLM's build for cores names none and refuses; a cluster that counts
cores as GPUs (`num_gpus`) runs it, as the tests do."""

if not current_platform.ray_device_key:
    current_platform.ray_device_key = PART


class Executor(RayExecutorV2):
    """vLLM's Ray executor, which ends the engine's process when a part has died.

    vLLM sees the death and kills the other parts, but its engine goes on waiting for what a part on another node was to
    answer: that wait has no end and is not called off.
    """

    def shutdown(self) -> None:
        try:
            super().shutdown()
        finally:
            if getattr(self, "is_failed", False):
                os._exit(1)
