"""What runs inside vLLM's worker processes beside its own code, called by name through `collective_rpc`."""

from __future__ import annotations

from typing import Any


class Extension:
    """Mixed into vLLM's worker (engine argument `worker_extension_cls`)."""

    model_runner: Any

    def refresh_packed_heads(self) -> int:
        """Packs output heads anew after `reload_weights`, and says how many.

        On cores vLLM multiplies with a packed copy of each weight. A head that is tied to the input embedding is not
        in the checkpoint, so the reload passes it by: the embedding is new, and the head's packed copy the old one.
        """
        packed = 0
        for module in self.model_runner.get_model().modules():
            if hasattr(module, "cpu_linear") and type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)
                packed += 1
        return packed
