"""How a checker is set up: sizes, limits, tools. Frozen; the same section in run configs and in `berry verify`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CheckerConfig(BaseModel):
    """One checker: a sandbox pool, warm math workers, and limits for every program that is run."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    slots: int | None = Field(default=None, ge=1)
    """Programs at once; None: the cores of this host."""
    queue_limit: int = Field(default=4096, ge=1)
    """Programs waiting for a slot; beyond it a check is UNVERIFIABLE (sandbox_fault) and may be tried elsewhere."""
    isolation: Literal["auto", "none"] = "auto"
    """"none" runs programs without the jail where the host can't provide its minimum: for trusted code only."""
    cpu_s: float = Field(default=10.0, gt=0)
    """CPU seconds of one program, scaled by the host's calibration factor."""
    wall_s: float = Field(default=30.0, gt=0)
    """Wall seconds of one program."""
    memory_mb: int = Field(default=512, ge=16)
    output_kb: int = Field(default=1024, ge=1)
    symbolic_s: float = Field(default=5.0, gt=0)
    """Wall seconds that sympy may take over one pair of answers before its worker is killed."""
    symbolic_workers: int = Field(default=1, ge=1)
    symbolic_memory_mb: int = Field(default=1024, ge=128)
    proof_cpu_s: float = Field(default=60.0, gt=0)
    """CPU seconds of one proof check."""
    proof_memory_mb: int = Field(default=2048, ge=128)
    lean_project: str | None = None
    """Folder of a built Lean project with the REPL (and Mathlib, if wanted)."""
    lean_repl: str = "repl"
    """The REPL's executable."""
    seed: int = 0
    """For the judge's samples."""
