"""One configuration class a pruning rule; `type` picks it. The rules themselves are in `pipeline/core/prune/`."""

from __future__ import annotations

from typing import Literal

from pipeline.config.base import Section


class VerdictRule(Section):
    """Keep what a verifier passed."""

    type: Literal["verdict"] = "verdict"


PruneRule = VerdictRule
