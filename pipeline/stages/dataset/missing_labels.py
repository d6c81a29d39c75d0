"""Says why a run has no labels, and which command makes them.

run ─► kinds of the values at its inner nodes ─► reason, remedy
"""

from __future__ import annotations

from shlex import quote

from berry.pipeline.records import ValueKind
from berry.pipeline.storage.run.directory import REVISIONS, RunDir
from berry.pipeline.storage.run.duckdb_views import connect

_ROOTS = "select n.value_kind, count(*) from nodes n where n.parent is null group by 1"
_KINDS = """
    select n.value_kind, count(*)
    from nodes n semi join nodes c on c.parent = n.node and c.problem_id = n.problem_id and c.round = n.round
    where n.parent is not null group by 1
"""
_REASONS = {
    ValueKind.POOLED: "an earlier version stored it, with plain shares of all leaves in place of estimates (pooled)",
    ValueKind.SURVIVORS: "its search gave branches up and spared none, so that only rates of survivors are known",
    ValueKind.ADAPTIVE: "verdicts decided what was sampled, so that no value is an unbiased estimate",
}


def explain_missing(run: RunDir, *, by_name: str) -> str | None:
    """Why the steps of a run have no labels, the command that makes them, and how to take what there is all the same
    (`by_name`: the option or key); None where some have one, or all are inside of their segments."""
    kinds = dict(connect(run).execute(_KINDS).fetchall())
    if kinds.get(ValueKind.ESTIMATE) or not kinds:
        return None
    found = [kind for kind in _REASONS if kinds.get(kind)]
    reason = _REASONS[found[0]] if found else "nothing below its steps could be checked"
    told = f"{reason}; {remedy(run)}"
    named = [kind for kind in found if kind is not ValueKind.ADAPTIVE]
    return f"{told}; or ask for what there is, which is biased, by its name ({by_name} {named[0]})" if named else told


def explain_missing_rates(run: RunDir) -> str | None:
    """Why no problem of a run has an unbiased pass rate, and the command that makes them; None where some have one."""
    kinds = dict(connect(run).execute(_ROOTS).fetchall())
    if kinds.get(ValueKind.ESTIMATE) or not kinds:
        return None
    found = [kind for kind in _REASONS if kinds.get(kind)]
    return f"{_REASONS[found[0]] if found else 'nothing in it could be checked'}; {remedy(run)}"


def remedy(run: RunDir) -> str:
    """The command that makes labels of any run, and where they are then."""
    place = run.location.show()
    return f"make labels with `berry annotate {quote(place)}`, and take {place}/{REVISIONS}/annotated in its place"
