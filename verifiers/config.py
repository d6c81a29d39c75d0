"""Configures a checker: sizes, limits, proof assistants, judge. The same section in run configs and `berry verify`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from berry.verifiers.specs.base import STRICT, Strictness


class JudgeConfig(BaseModel):
    """The model that `model` verifiers ask, behind an OpenAI-compatible chat server (`vllm serve` and others)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://")
    """Base address with the version, as in http://host:8000/v1."""
    model: str = Field(min_length=1)
    """The name under which the server serves it."""
    temperature: float = Field(default=0.7, ge=0)
    """Temperature of the judge's sampling; 0: always the likeliest token."""
    max_tokens: int = Field(default=1024, ge=1)
    """Tokens of one vote, thinking included."""
    at_once: int = Field(default=32, ge=1)
    """Votes asked for at once, by each checker."""
    timeout_s: float = Field(default=300.0, gt=0)
    """Wall seconds of one answer."""
    api_key_env: str | None = None
    """Environment variable that holds the key; the key itself is never written down."""


JudgeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=40)]


class CheckerConfig(BaseModel):
    """One checker: a sandbox pool, warm math workers, and limits for every program that is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: int | None = Field(default=None, ge=1)
    """Programs at once; None: the cores of this host."""
    queue_limit: int = Field(default=4096, ge=1)
    """Programs waiting for a slot; beyond it a check is UNVERIFIABLE (sandbox_fault) and may be tried elsewhere."""
    isolation: Literal["auto", "none"] = "auto"
    """"none" runs programs without the jail where the host can't provide its minimum: for trusted code only."""
    cpu_s: float = Field(default=10.0, gt=0)
    """CPU seconds of one program, scaled by the host's calibration factor."""
    wall_s: float = Field(default=30.0, gt=0)
    """Wall seconds of one program, scaled by the same factor and by the host's load, up to four times."""
    nice: int = Field(default=5, ge=0, le=19)
    """How far programs yield the cores to this process, and to an engine on the same host; 0: not at all."""
    memory_mb: int = Field(default=512, ge=16)
    """Memory of one program, in MB."""
    output_kb: int = Field(default=1024, ge=1)
    """Output of one program that is read, in kB; more of it ends the program."""
    strictness: Strictness = STRICT
    """What counts as the same answer where a problem's verifier is silent: "strict", "lenient" or single settings."""
    symbolic_s: float = Field(default=5.0, gt=0)
    """Wall seconds that sympy may take over one pair of answers before its worker is killed."""
    symbolic_workers: int = Field(default=1, ge=1)
    """Warm sympy processes."""
    symbolic_memory_mb: int = Field(default=1024, ge=128)
    """Memory of each of them, in MB."""
    proof_cpu_s: float = Field(default=60.0, gt=0)
    """CPU seconds of one proof check."""
    proof_memory_mb: int = Field(default=2048, ge=128)
    """Memory of one proof check, in MB."""
    lean_project: str | None = None
    """Folder of a built Lean project with the REPL (and Mathlib, if wanted)."""
    lean_repl: str = "repl"
    """The REPL's executable."""
    weak_verdicts: Literal["unverifiable", "count"] = "unverifiable"
    """What becomes of verdicts whose tests shared the candidate's process (`program_tests` outside Python), which a
    hostile program can forge: "unverifiable" keeps them out of rewards, "count" takes them as they are."""
    judge: JudgeConfig | None = None
    """Who answers `model` and `rubric` verifiers that name no judge; null: nobody, and they are UNVERIFIABLE
    (no_judge)."""
    judges: dict[JudgeName, JudgeConfig] = Field(default_factory=dict)
    """Judges by name, for verifiers that say `judge: NAME`."""
    seed: int = 0
    """For the judge's samples."""
