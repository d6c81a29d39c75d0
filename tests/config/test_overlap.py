"""Rounds that overlap with trainings: which weights a round is made with, and what has no place for it."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rounds import Rounds
from berry.pipeline.core.placement import place_actors
from berry.pipeline.errors import ConfigError

ROLES = {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.5, "max": 1}, "train": {"cpus": 0.5}}


def config(**changes: Any) -> RunConfig:
    raw = {
        "name": "r",
        "problems": [{"type": "synthetic", "count": 4}],
        "engine": {"type": "synthetic"},
        "rounds": {"count": 3, "overlap": True},
        "cluster": {"nodes": {"host": {"cores": 2}}, "roles": ROLES},
    }
    return validate(raw | changes, RunConfig, where="test")


@pytest.mark.parametrize(
    ("rounds", "trainings"),
    [
        ({}, [0, 1, 2, 3]),
        ({"overlap": True}, [0, 0, 1, 2]),
        ({"overlap": True, "max_staleness": 2}, [0, 0, 0, 1]),
        ({"max_staleness": 2}, [0, 1, 2, 3]),
    ],
)
def test_the_weights_of_a_round_follow_from_its_number(rounds: dict[str, Any], trainings: list[int]) -> None:
    assert [Rounds(**rounds).trainings_behind(number) for number in range(4)] == trainings


def test_training_processes_have_a_place_beside_the_actors() -> None:
    placed = place_actors(config().cluster)
    assert placed.train is not None
    assert (placed.train.actors, placed.train.cpus, placed.cores_free) == (1, 0.5, 0)
    stored = RunConfig.model_validate(config().model_dump(mode="json"))
    assert stored == config(), "a stored configuration is read again"
    alone = config(rounds={"count": 3})
    assert place_actors(alone.cluster).train is None, "without overlap they take nothing"


def test_on_gpus_they_have_nodes_of_their_own() -> None:
    gpus = {"rollout": {"gpus": 1, "cpus": 1}, "train": {"gpus": 1, "cpus": 2, "labels": {"for": "training"}}}
    nodes = {
        "engines": {"count": 2, "gpus": 4, "cores": 16},
        "trainers": {"gpus": 4, "cores": 16, "labels": {"for": "training"}},
    }
    two = {"rewards": {"training": {"processes": 2}}}
    placed = place_actors(config(cluster={"nodes": nodes, "roles": gpus}, **two).cluster)
    assert placed.train is not None
    assert placed.train.by_node == {"engines": 0, "trainers": 2}
    assert placed.rollout.actors == 10, "what training leaves of its nodes is the engines'"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cluster": "local"}, r"needs a place for the training: say in cluster\.roles\.train"),
        ({"rounds": {"count": 3, "overlap": True, "train": []}}, "nothing is trained: give policy"),
        ({"storage": {"site": "a"}}, "storage.site 'a' shares the run"),
        (
            {"cluster": {"nodes": {"host": {"cores": 2}}, "roles": {**ROLES, "train": {"min": 3}}}},
            "1 processes train beside a round .*: leave min and max out",
        ),
        (
            {"cluster": {"nodes": {"host": {"cores": 2}}, "roles": {**ROLES, "train": {"gpus": 2}}}},
            "a process trains on one GPU, or on cores",
        ),
    ],
)
def test_what_has_no_place_for_it_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config(**changes)


@pytest.mark.parametrize(
    ("processes", "takes", "why"),
    [
        (1, {"cpus": 1}, r"cluster\.roles\.train\.min 1: .* but 0 fit beside .* Set rounds\.overlap: false"),
        (2, {"cpus": 0.5}, r"but 1 fit beside .* Lower rounds\.policy\.processes and .* to 1"),
        (1, {"labels": {"a": "b"}}, r"cluster\.roles\.train\.labels .* match no node type"),
        (1, {"gpus": 1}, r"cluster\.roles\.train: one actor takes 1 GPUs, 1 cores, and no node holds that"),
    ],
)
def test_a_cluster_that_is_too_small_is_refused(processes: int, takes: dict[str, Any], why: str) -> None:
    cluster = {"nodes": {"host": {"cores": 2}}, "roles": {**ROLES, "train": takes}}
    made = config(cluster=cluster, rewards={"training": {"processes": processes}})
    with pytest.raises(ConfigError, match=why):
        place_actors(made.cluster)
