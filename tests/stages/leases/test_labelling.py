"""What a run commits is labelled once each, whatever order leases are committed in and wherever a driver was killed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ConfigError
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.labelling import TaughtLeases, labels_place, work_of
from berry.pipeline.stages.leases.lease import Lease, LeaseReport
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir

RAW: dict[str, Any] = {
    "name": "r",
    "problems": [{"type": "synthetic", "count": 10, "seed": 1}],
    "engines": {"small": {"type": "synthetic"}, "large": {"type": "synthetic"}},
    "routing": {"type": "teacher", "student": "small", "teacher": "large", "completions": 3, "of": "kept"},
    "storage": {"lease_problems": 3},
}


def config(**changes: Any) -> RunConfig:
    return validate({**RAW, **changes}, RunConfig, where="test")


def report(lease: Lease) -> LeaseReport:
    return LeaseReport(lease.number, "w", len(lease.problems), 0, 0, 0, {}, TokenLedger(), 0.0, engine=lease.engine)


@given(st.integers(0, 2**32))
def test_every_committed_lease_is_labelled_once(seed: int) -> None:
    chance, nowhere = random.Random(seed), RunDir(locate("/nonexistent"))
    leases = TaughtLeases(nowhere, config(), RunDir(locate("/nonexistent/revisions/labels")))
    leases.begin_round(0)
    flying: list[Lease] = []
    committed: dict[int, Lease] = {}
    labelled: dict[int, Lease] = {}
    while leases.may_have_more or flying or leases.labels.may_have_more:
        lease = leases.take("small") if chance.random() < 0.5 else None
        if lease is not None:
            flying.append(lease)
        if flying and chance.random() < 0.5:
            done = flying.pop(chance.randrange(len(flying)))
            committed[done.number] = done
            leases.settle(report(done))
        if chance.random() < 0.5 and (lease := leases.labels.take("large")) is not None:
            assert lease.number not in labelled
            assert lease.number in committed, "it has nothing to label yet"
            labelled[lease.number] = lease
        if not flying and not leases.may_have_more:
            leases.labels.close()
    assert sorted(labelled) == sorted(committed) == [0, 1, 2, 3]
    for number, lease in labelled.items():
        assert lease.problems == committed[number].problems
        assert (lease.engine, committed[number].engine) == ("large", "small")
    assert [p.id for p in committed[0].problems] == ["synthetic-1-0", "synthetic-1-1", "synthetic-1-2"]


def test_the_teacher_works_at_the_labels_and_the_student_at_the_run(tmp_path: Path) -> None:
    run, location = config(), locate(str(tmp_path))
    assert work_of(run, location, "small") == (run, location)
    labelling, place = work_of(run, location, "large")
    assert place.url.endswith("/revisions/labels")
    assert place.url == locate(labels_place(location.url)).url
    annotation = labelling.annotation
    assert annotation is not None
    assert (annotation.engine, annotation.of, annotation.completions) == ("large", "kept", 3)
    assert list(labelling.each_started) == ["large"]
    assert list(run.each_started) == ["small", "large"]
    assert list(run.each_generator) == list(labelling.each_generator) == ["small"]
    stored = labelling.model_dump(mode="json")
    assert validate(stored, RunConfig, where="test") == labelling, "what is stored of the labels reads the same"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"routing": {"type": "teacher", "student": "small", "teacher": "lage"}}, "did you mean large"),
        ({"routing": {"type": "teacher", "student": "big", "teacher": "large"}}, "'big' is none of `engines`"),
        (
            {
                "routing": {"type": "teacher", "student": "small", "teacher": "small"},
                "engines": {"small": {"type": "synthetic"}},
            },
            "rollout.policy {type: shepherd}",
        ),
        (
            {
                "engines": {
                    "small": {"type": "synthetic"},
                    "large": {"type": "http", "urls": ["http://host/v1"], "model": "m", "dialect": "chat"},
                }
            },
            "engines.large has dialect chat",
        ),
        ({"rollout": {"tools": [{"type": "python"}]}}, "rollout.tools"),
        ({"storage": {"site": "east"}}, "storage.site knows one model"),
        ({"engines": {**RAW["engines"], "third": {"type": "synthetic"}}}, "no mode and no route leads to it"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(**changes)
    assert message in str(refused.value)
