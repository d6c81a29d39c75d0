"""The check itself, without a GPU: what is not run never passes, a part that goes wrong leaves the others alone."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import check
import pytest
from check import PARTS, Part
from foretold import foretold, sheet_of
from part import (
    SIZES,
    Figure,
    Here,
    Result,
    Status,
    at_least,
    at_most,
    cluster,
    exit_code,
    from_dict,
    judged,
    table,
    to_json,
)
from rich.console import Console
from shapes import SHAPES, VOCABULARY, made

from berry.pipeline.cli.loading import load_run
from berry.pipeline.core.placement import place_actors
from berry.pipeline.planning.sheets import accelerator


def test_every_part_is_there() -> None:
    for part in PARTS.values():
        module, function = part.function.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_without_cuda_nothing_passes_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "has_cuda", lambda: False)
    results = check.check(Here("cuda", tmp_path), list(PARTS), tmp_path / "results")
    assert {(r.status, r.why) for r in results} == {(Status.NOT_RUN, "no CUDA device")}
    assert len(json.loads((tmp_path / "results" / "gpu-check.json").read_text())["parts"]) == len(PARTS)


def test_on_cores_only_what_shares_a_gpu_is_left_out() -> None:
    left = {name for name, part in PARTS.items() if check.not_runnable(part, "cpu", cuda=False)}
    assert left == {"shared-gpu"}
    assert not [name for name, part in PARTS.items() if check.not_runnable(part, "cuda", cuda=True)]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which the child takes its parts, beside the real ones."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("body", "status", "why", "limit_s"),
    [
        ("return [Figure('x', 1)], {'a': 1}", Status.OK, "", 60),
        ("return [Figure('x', 1, '>= 2', False)], {}", Status.UNHEALTHY, "x", 60),
        ("raise MemoryError('out of it')", Status.FAILED, "MemoryError: out of it", 60),
        ("import os; os.kill(os.getpid(), 9)", Status.FAILED, "ended with -9", 60),
        ("import time; time.sleep(600)", Status.FAILED, "took over 2 s", 2),
    ],
)
def test_a_part_that_goes_wrong_leaves_the_others_alone(
    parts: Path, monkeypatch: pytest.MonkeyPatch, body: str, status: Status, why: str, limit_s: float
) -> None:
    (parts / "made_up.py").write_text(f"from part import Figure\ndef part(here):\n    {body}\n")
    driver = parts / "driver.py"
    driver.write_text(
        f"import sys; sys.path.insert(0, {str(Path(check.__file__).parent)!r})\n"
        "import check\ncheck.PARTS['made-up'] = check.Part('made_up:part', 1)\ncheck.main()\n"
    )
    monkeypatch.setitem(PARTS, "made-up", Part("made_up:part", limit_s))
    monkeypatch.setattr(check, "__file__", str(driver))
    result = check.run_part("made-up", Here("cpu", parts / "work"))
    assert result.status == status
    assert result.why.startswith(why)
    if status == Status.OK:
        assert (result.figures, result.raw) == ((Figure("x", 1),), {"a": 1})


@pytest.mark.parametrize("engines", [1, 2])
def test_the_cluster_of_a_gpu_holds_the_engines(engines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(16)))
    config = Path(__file__).resolve().parents[2] / "configs" / "tiny.yaml"
    run = load_run(str(config), cluster(Here("cuda", tmp_path), engines=engines))
    planned = place_actors(run.cluster)
    assert planned.rollout.actors == engines
    assert planned.rollout.gpus == pytest.approx(1 / engines)
    assert planned.sandbox.actors > 2


def test_sizes_are_those_the_page_promises() -> None:
    assert (SIZES["cuda"].seqs, SIZES["cuda"].fewer_seqs, SIZES["cuda"].swaps) == (512, 448, 10)


def test_what_is_of_most_worth_comes_first_and_leaves_time_for_the_rest() -> None:
    assert list(PARTS)[:3] == ["main-tiny", "main-smollm2", "overhead"]
    assert all(part.limit("cuda") <= 90 for name, part in PARTS.items() if "8b" not in name)


def test_quick_is_for_cores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["check", "--quick"])
    with pytest.raises(SystemExit):
        check.main()
    assert "--quick is for --device cpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpu", "sheet"),
    [
        ("NVIDIA H200, 143771 MiB, 580.95", "h200"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("Tesla T4", None),
        (None, "cpu-core"),
    ],
)
def test_each_device_is_foretold_from_its_own_sheet(gpu: str | None, sheet: str | None) -> None:
    assert sheet_of(gpu) == sheet
    if sheet is not None:
        accelerator(sheet)


@pytest.mark.slow
def test_what_the_plan_says_of_the_shapes_is_written_before_a_part_runs(tmp_path: Path) -> None:
    told = foretold(Here("cpu", tmp_path, quick=True), None)
    assert set(told["rates"]) == {f"{shape}, {seqs} sequences" for shape in SHAPES for seqs in (16, 14)}
    assert all(rate["tokens_per_s"] > 0 and rate["fit_at_once"] > 0 for rate in told["rates"].values())
    assert foretold(Here("cpu", tmp_path, quick=True), "Tesla T4") == {
        "sheet": None,
        "why": "there is no hardware sheet for Tesla T4",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_written_with_a_tokenizer_of_its_vocabulary(name: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    folder = made(name, Here("cpu", tmp_path, quick=True))
    config = AutoConfig.from_pretrained(folder)
    assert (config.model_type, config.num_hidden_layers) == (SHAPES[name]["model_type"], 1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == config.vocab_size == VOCABULARY
    assert tokenizer.decode(tokenizer.encode("12 + 7")) == "12 + 7"
    assert tokenizer.decode([VOCABULARY - 1]) != ""
    assert made(name, Here("cpu", tmp_path, quick=True)) == folder


def test_help_needs_no_engine() -> None:
    code = "import sys; sys.argv = ['check', '--help']\nimport check\ntry: check.main()\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'vllm', 'ray', 'pipeline'} & sys.modules.keys()"
    folder = str(Path(check.__file__).parent)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- figures, table, JSON -----------------------------------------------------------------------------------------


def shown(results: list[Result]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table(results, "one H100"))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_part_is_as_good_as_its_worst_figure() -> None:
    good, bad = at_least("rate", 0.95, 0.9), at_most("apart", 0.5, 0.02)
    assert judged("p", [good], wall_s=1, raw={}).status == Status.OK
    found = judged("p", [good, bad], wall_s=1, raw={})
    assert (found.status, found.why) == (Status.UNHEALTHY, "apart")


def test_a_figure_of_another_device_is_told_and_not_judged() -> None:
    figure = at_least("rate", 0.3, 0.9, judged=False)
    assert figure.good is None
    assert judged("p", [figure], wall_s=1, raw={}).status == Status.OK


@pytest.mark.parametrize("figure", [at_least("x", None, 1), at_most("x", None, 1), at_least("x", float("nan"), 1)])
def test_a_figure_that_could_not_be_had_is_not_good(figure: Figure) -> None:
    assert figure.good is False


def test_the_table_says_what_is_wrong_and_what_could_not_be_run() -> None:
    text = shown(
        [
            judged("fast", [at_least("rate", 12345.6, 1)], wall_s=3, raw={}),
            judged("slow", [at_least("rate", 0.5, 0.9)], wall_s=3, raw={}),
            Result("broken", Status.FAILED, why="out of memory", wall_s=7),
            Result("gpu", Status.NOT_RUN, why="no CUDA device"),
        ]
    ).replace("\N{NO-BREAK SPACE}", " ")
    assert "one H100" in text
    for line in ("rate 12,346", "rate 0.5 (should be >= 0.9)", "failed: out of memory", "not run: no CUDA device"):
        assert line in text


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([Status.OK], 0),
        ([Status.OK, Status.NOT_RUN], 3),
        ([Status.NOT_RUN, Status.UNHEALTHY], 1),
        ([Status.NOT_RUN, Status.FAILED], 1),
    ],
)
def test_what_was_not_run_does_not_pass(statuses: list[Status], code: int) -> None:
    assert exit_code([Result("p", status) for status in statuses]) == code


def test_results_survive_json() -> None:
    result = judged("p", [at_least("rate", 0.5, 0.9), Figure("text", "a")], wall_s=2.5, raw={"deep": {"x": [1]}})
    read = json.loads(to_json([result], {"gpu": "H100"}))
    assert read["machine"] == {"gpu": "H100"}
    assert from_dict(read["parts"][0]) == result
