"""What the table of rounds says, held against runs whose every prefix has a known value."""

from __future__ import annotations

import pytest

from berry.pipeline.core.assignment.splits import split_of
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.report.rounds import round_lines
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.storage.run.duckdb_views import connect

HELD = {"training": {"heldout_share": 0.5}}
HARSH = {"cut": {"below": 0.4, "spare": 0.0, "speculative": False}, "budget": {"hopeless_after": 2}}


def test_held_out_problems_are_unpruned_and_their_values_true(stored_run) -> None:
    run = stored_run(count=60, rollout=HARSH, rewards=HELD, rounds=2, policy={"type": "fixed", "branching": [8, 2]})
    (line,) = round_lines(run)  # the first round alone was grown
    db = connect(run)
    split, engine = split_of(stored_config(run)), Synthetic(stored_config(run).engine)  # type: ignore[arg-type]
    roots = db.execute("select problem_id, token_ids, value, value_kind from nodes where depth = 0").fetchall()
    held = [row for row in roots if split.part(row[0]) == "heldout"]
    assert line.heldout_problems == len(held) > 15
    assert line.heldout_null == 0
    assert line.heldout_pass_at_1 == pytest.approx(sum(value for _, _, value, _ in held) / len(held))
    truth = sum(engine.true_value(tokens) for _, tokens, _, _ in held) / len(held)
    assert line.heldout_pass_at_1 is not None
    assert line.heldout_error is not None
    assert abs(line.heldout_pass_at_1 - truth) < 0.08
    cut = db.execute("select distinct problem_id from trajectories where drop_reason = 'cut_in_loop'").fetchall()
    assert len(cut) > 10
    assert not {row[0] for row in cut} & {row[0] for row in held}
    assert (line.other_problems, line.other_pass_at_1) == (0, None), "pruned without sparing, they have no values"
    assert (line.heldout_gain, line.pooled) == (None, False)
