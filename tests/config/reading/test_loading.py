"""A bad config gives one error that names key, value and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from berry.pipeline.config.reading.loading import apply_override, load
from berry.pipeline.config.run import RunConfig, differences, digest, plain
from berry.pipeline.errors import ConfigError

GOOD: dict[str, Any] = {
    "problems": [{"type": "synthetic", "count": 3}],
    "engine": {"type": "vllm", "model": "tiny-arithmetic"},
    "rollout": {"policy": {"type": "best_of_n"}},
}


def write(tmp_path: Path, raw: object) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw))
    return path


def refused(tmp_path: Path, raw: object, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, raw), list(overrides), RunConfig)
    return str(caught.value)


def test_the_name_is_the_files_stem(tmp_path: Path) -> None:
    assert load(write(tmp_path, GOOD), [], RunConfig).name == "job"


def test_overrides_reach_into_sections_and_lists(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD), ["rollout.policy.n=16", "problems.0.count=7", "seed=9"], RunConfig)
    assert config.rollout.policy.model_dump() == {"type": "best_of_n", "n": 16}
    assert config.problems[0].model_dump()["count"] == 7
    assert config.seed == 9


def test_an_unknown_key_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD, "rollout.sampling.temprature=1")
    assert "rollout.sampling.temprature is not a known key; did you mean temperature?" in message


def test_an_unknown_key_inside_a_union_is_named_without_the_tag(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD, "engine.modle=x")
    assert "engine.modle is not a known key; did you mean model?" in message


def test_a_wrong_value_is_shown_with_what_is_wanted(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD, "rollout.policy.n=0")
    assert "rollout.policy.n" in message
    assert "greater than or equal to 1, got 0" in message


def test_a_wrong_type_tag_lists_the_choices(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD, "rollout.policy.type=best_of_m")
    assert "rollout.policy.type must be one of" in message
    assert "did you mean best_of_n?" in message


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    assert "engine is missing" in refused(tmp_path, {"problems": GOOD["problems"]})


def test_every_bad_key_is_listed_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD, "seed=-1", "rollout.budget.max_depth=0")
    assert "seed" in message
    assert "rollout.budget.max_depth" in message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: [1,", "line 1"),
        ("- just\n- a list\n", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_its_place(tmp_path: Path, text: str, wanted: str) -> None:
    assert wanted in refused(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path / "none.yaml", [], RunConfig)


@pytest.mark.parametrize("override", ["noequals", "=3", "problems.9.count=1", "seed.x=1"])
def test_an_override_that_leads_nowhere_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        apply_override({"problems": [{}], "seed": 1}, override)


def test_an_unknown_cluster_lists_what_there_is(tmp_path: Path) -> None:
    message = refused(tmp_path, {**GOOD, "cluster": "loca"})
    assert "did you mean local?" in message


def test_relative_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    raw = {**GOOD, "problems": [{"type": "file", "path": "p.jsonl"}]}
    config = load(write(tmp_path, raw), [], RunConfig)
    assert config.problems[0].model_dump()["path"] == str(tmp_path / "p.jsonl")


def test_differences_name_keys_and_both_values_but_not_the_cluster(tmp_path: Path) -> None:
    old = load(write(tmp_path, GOOD), [], RunConfig)
    new = load(
        write(tmp_path, GOOD),
        ["seed=4", "cluster.roles.sandbox.slots=7", "cluster.nodes.a.cores=4"],
        RunConfig,
    )
    assert differences(plain(old), new) == ["seed: 0 in the run, 4 now"]
    assert digest(old) != digest(new)


def test_an_engine_without_weights_can_not_learn_between_rounds(tmp_path: Path) -> None:
    raw = {**GOOD, "engine": {"type": "synthetic"}, "rounds": {"count": 2, "policy": {}}}
    assert "set rounds.policy to null" in refused(tmp_path, raw)


def test_tensor_parallelism_of_engine_and_role_must_be_the_same(tmp_path: Path) -> None:
    roles = {"rollout": {"gpus": 2, "tensor_parallel": 2}}
    raw = GOOD | {"cluster": {"nodes": {"n": {"cores": 4, "gpus": 4}}, "roles": roles}}
    text = refused(tmp_path, raw)
    assert "engine.tensor_parallel_size 1 and cluster.roles.rollout.tensor_parallel 2 must be the same" in text
    text = refused(tmp_path, raw, "engine.tensor_parallel_size=2")
    assert "cluster.roles.rollout.cpus 1 is too few for tensor_parallel 2" in text
    assert "set it to at least 3" in text
    load(write(tmp_path, raw), ["engine.tensor_parallel_size=2", "cluster.roles.rollout.cpus=3"], RunConfig)


def test_an_engine_that_drafts_takes_no_min_p(tmp_path: Path) -> None:
    drafts = {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4}}
    raw = GOOD | {"engine": {"type": "vllm", "model": "smollm2-135m", "extra": drafts}}
    load(write(tmp_path, raw), [], RunConfig)
    assert "min_p: vLLM refuses it from an engine that drafts" in refused(tmp_path, raw, "rollout.sampling.min_p=0.1")


def test_whole_weights_do_not_go_with_an_adapter(tmp_path: Path) -> None:
    raw = GOOD | {"engine": {"type": "vllm", "model": "smollm2-135m", "adapter": "somewhere"}}
    assert "trains whole weights" in refused(tmp_path, raw | {"rounds": {"count": 2, "policy": {}}})


def test_stages_of_engine_and_role_must_be_the_same(tmp_path: Path) -> None:
    roles = {"rollout": {"gpus": 2, "pipeline_parallel": 2, "nodes": 2, "cpus": 2}}
    raw = GOOD | {"cluster": {"nodes": {"n": {"count": 2, "cores": 4, "gpus": 1}}, "roles": roles}}
    text = refused(tmp_path, raw)
    assert "engine.pipeline_parallel_size 1 and cluster.roles.rollout.pipeline_parallel 2 must be the same" in text
    text = refused(tmp_path, raw, "engine.pipeline_parallel_size=2")
    assert "too few for tensor_parallel 1 × pipeline_parallel 2" in text
    load(write(tmp_path, raw), ["engine.pipeline_parallel_size=2", "cluster.roles.rollout.cpus=3"], RunConfig)
