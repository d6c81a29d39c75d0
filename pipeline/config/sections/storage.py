"""Configures where a run is kept: its root, the size of its leases, their journals, and the site that shares it."""

from __future__ import annotations

from pydantic import Field, field_validator

from berry.pipeline.config.reading.base import Section


class Storage(Section):
    """Where the run is kept, and in what pieces."""

    root: str = "runs"
    """Folder or object-store URL under which the run directory NAME is made, relative to the working directory."""
    lease_problems: int = Field(default=4, ge=1)
    """Problems handed out and committed together: a shard each. More for large runs: fewer files."""
    lease_trajectories: int | None = Field(default=None, ge=1)
    """Trajectories a lease, from which `lease_problems` follows by what the policy plans a problem, where it is not
    given itself: files are then of one size whatever the policy. 8,192 suits large runs; null: `lease_problems` says
    it."""
    site: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of this cluster among several that share the run directory; null: it has the directory to itself."""
    silent_s: float = Field(default=60.0, ge=1)
    """Seconds without a sign of life after which a site counts as dead and its leases are taken over."""
    stall_s: float = Field(default=600.0, ge=1)
    """Seconds without a token, a step or an answer after which an engine counts as hung and its leases are handed out
    again; more than it takes to load."""
    journal: str = "run"
    """Where events of searches in flight are kept, so that a crash generates nothing again: `run`, the run directory;
    `local:PATH`, a folder of each worker's own host, which costs a store no requests, and whose loss costs what was in
    flight; `off`: a crash costs what was in flight."""
    compact: bool = True
    """Whether the files of small leases are merged at the end of each round; with a `site`, `berry compact` does it."""

    @field_validator("journal")
    @classmethod
    def _is_a_place(cls, journal: str) -> str:
        if journal not in ("run", "off") and not journal.startswith("local:/"):
            raise ValueError("must be run, off, or local: and an absolute path, as local:/scratch/berry")
        return journal
