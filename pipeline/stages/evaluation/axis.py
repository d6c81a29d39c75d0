"""Names what compute is measured in. It imports nothing, since the command line needs it before anything is loaded."""

from __future__ import annotations

from enum import StrEnum


class Axis(StrEnum):
    """Names what compute is measured in; each is a column of eval.parquet."""

    GENERATED_TOKENS = "generated_tokens"
    FORWARD_TOKENS = "forward_tokens"
    FLOP = "flop"
    SECONDS = "seconds"
    USD = "usd"

    @property
    def label(self) -> str:
        """What stands at the axis of a picture."""
        return f"{_LABELS[self]} a problem"


_LABELS = {
    Axis.GENERATED_TOKENS: "generated tokens",
    Axis.FORWARD_TOKENS: "forward tokens of all models",
    Axis.FLOP: "FLOP",
    Axis.SECONDS: "seconds",
    Axis.USD: "US$",
}
