from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from berry.pipeline.errors import InputError
from berry.pipeline.rewards.model.blend import Blend, Evidence
from berry.pipeline.rewards.model.card import Card, from_json
from berry.pipeline.rewards.training.blend_fit import blended, fit, fit_to_labels, mean_logprob
from berry.pipeline.rewards.training.examples import LabelledPath
from berry.pipeline.rewards.training.metrics import auc


def drawn(count: int, truth: Blend, seed: int = 0) -> list[tuple[float, Evidence, float, float]]:
    rng = random.Random(seed)
    rows: list[tuple[float, Evidence, float, float]] = []
    for _ in range(count):
        value, evidence = rng.uniform(0.05, 0.95), Evidence(-rng.expovariate(0.5), rng.randrange(5, 90))
        rows.append((value, evidence, float(rng.random() < truth.value(value, evidence)), 1.0))
    return rows


def test_a_fit_finds_the_blend_that_made_the_labels():
    truth = Blend(0.7, 0.9, 1.5, 0.4)
    found = fit(drawn(6000, truth))
    assert found.coefficients == pytest.approx(truth.coefficients, abs=0.25)
    for value, evidence, _, _ in drawn(50, truth, seed=1):
        assert found.value(value, evidence) == pytest.approx(truth.value(value, evidence), abs=0.05)


def test_without_evidence_or_labels_the_model_s_value_stands():
    assert Blend(2.0, 3.0, 4.0, 5.0).value(0.3, None) == 0.3
    assert fit([]) == Blend()
    assert Blend().value(0.3, Evidence(-7.0, 12)) == pytest.approx(0.3)


def test_one_label_changes_little_and_a_single_class_or_a_sure_model_stays_finite():
    one = fit([(0.5, Evidence(-1.0, 10), 1.0, 1.0)])
    assert one.value(0.5, Evidence(-1.0, 10)) < 0.8
    sure = fit([(float(i % 2), Evidence(0.0, 1), 1.0, 3.0) for i in range(200)])
    assert all(map(math.isfinite, sure.coefficients))
    assert sure.value(1.0, Evidence(-1e6, 1)) >= 0
    assert sure.value(0.0, Evidence(1e6, 1)) <= 1


def test_a_card_carries_its_blend_and_a_damaged_one_is_refused():
    card = Card(what="prm", version="v", backbone="b", vocabulary="x", blend=Blend(0.5, 0.25, 0.0, -1.0))
    assert from_json(card.to_json(), where="here") == card
    assert from_json(replace(card, blend=None).to_json(), where="here").blend is None
    raw = json.loads(card.to_json())
    raw["blend"]["logit"] = "much"
    with pytest.raises(InputError, match=r"here: is no model card.*train the model again"):
        from_json(json.dumps(raw), where="here")


def told(number: int, rng: random.Random) -> LabelledPath:
    """A path whose engine was unsure where it went wrong."""
    ends, good, logprob, evidence = (3, 6, 9), True, 0.0, list[Evidence | None]()
    marks: list[bool] = []
    for end in ends:
        slip = rng.random() < 0.25
        good = good and not slip
        logprob -= rng.uniform(2, 4) if slip else rng.uniform(0, 0.6)
        marks.append(good)
        evidence.append(Evidence(logprob, end))
    return LabelledPath(
        problem_id=f"p{number}",
        trajectory_id=f"t{number}",
        round_index=0,
        prompt_ids=(1,),
        response_ids=(2,) * 9,
        ends=ends,
        soft=tuple(map(float, marks)),
        hard=tuple(marks),
        visits=(1,) * 3,
        first=(True,) * 3,
        passed=marks[-1],
        answer=None,
        evidence=tuple(evidence),
    )


@pytest.mark.parametrize("what", ["prm", "orm"])
def test_what_the_engine_knew_tells_good_from_bad_where_the_model_can_not(what):
    rng = random.Random(2)
    paths = [told(i, rng) for i in range(300)]
    blind = [[rng.uniform(0.3, 0.7) for _ in path.ends] for path in paths]
    blend = fit_to_labels(what, blind[:150], paths[:150], targets="soft", weigh_by_visits=True)
    assert blend is not None
    assert blend.logprob > 0.5
    scores = blended(blind[150:], paths[150:], blend)
    hard = [g for path in paths[150:] for g in path.hard]
    alone = auc([s for row in blind[150:] for s in row], [bool(g) for g in hard])
    together = auc([s for row in scores for s in row], [bool(g) for g in hard])
    assert alone is not None
    assert together is not None
    assert together > 0.9 > alone + 0.2


def test_steps_that_end_inside_a_segment_keep_the_model_s_value():
    path = told(0, random.Random(3))
    half = replace(path, evidence=(None, *path.evidence[1:]))
    scores = blended([[0.4, 0.4, 0.4]], [half], Blend(1.0, 1.0, 0.0, 0.0))
    assert scores[0][0] == 0.4
    assert scores[0][1] < 0.4
    assert mean_logprob([half]) is None
    found = mean_logprob([path])
    assert found is not None
    assert all(0 < value <= 1 for value in found[0])
    assert fit_to_labels("prm", [[0.4] * 3], [replace(path, evidence=())], targets="soft", weigh_by_visits=True) is None


def test_a_value_falls_as_the_log_probability_does():
    blend = Blend(1.0, 0.5, 0.0, 0.0)
    values = [blend.value(0.5, Evidence(-x / 3, 10)) for x in range(50)]
    assert all(a > b for a, b in pairwise(values))
