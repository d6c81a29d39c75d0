"""Every block of the documentation is run, or stands below with the reason why it is not and is held against the code.

    pages ─► blocks ─► sh      `berry …` runs in a folder with small runs; others' words are held against what they call
                       python  runs there too           yaml, json, toml  become what Berry makes of them

Engines of the shipped configurations are replaced by the synthetic one in that folder and their problems are few, so
that what stands in a page runs as it stands there, without a model.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from berry.pipeline.cli import app
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.evaluation import Evaluation
from berry.pipeline.stages.problems.files import parse_problem

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    ]
)
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.S | re.M)
LANGUAGES = {"sh", "python", "sql", "yaml", "json", "toml", "text"}
SYNOPSIS = re.compile(r" \[[^\]]*…\]")  # what may follow, in a line that shows the form of a command

NOT_RUN = {
    "berry submit": "needs a Ray cluster's job server; tests/runtime/cluster/test_submit.py",
    "berry view": "serves until it is stopped; tests/report/view/test_view.py runs it",
    "berry run configs/rounds.yaml": "trains for minutes; tests/runtime/driver/test_rounds.py makes rounds",
    "berry weights push": "needs a trained model; tests/runtime/driver/test_rounds.py pushes one",
    "make": "sets up .venv first; .ci/run makes setup and test",
    "source .venv/bin/activate": "the tests are in that environment",
    "python -m berry.pipeline.config.reference": "tests/config/test_reference.py compares what it writes",
    "python -m pytest": "the tests that it names run by themselves",
    "python -P tests/benchmarks/": "measures for minutes",
    "berry-airgapped/": "needs a GPU; tests/gpu/test_check.py runs the check without",
    "bash install.sh": "installs on another machine; tests/deploy",
    "deploy/airgapped/pack.sh": "downloads every package; tests/deploy",
    "python deploy/airgapped/closure.py": "records a run of the engine; tests/deploy records a program",
    "docker": "needs Docker's daemon",
    "kubectl": "needs Kubernetes",
    "helm": "needs Kubernetes",
    "sed": "puts a registry's name into a manifest",
    "sbatch": "needs Slurm",
    "berry status s3://": "needs an object store; runs.md has one of a folder",
    "berry train": "trains a model; tests/stages/training",
    "cd": "moves there",
    "ray": "needs a cloud or Prometheus",
    "grafana": "needs Grafana",
    "curl": "asks Prometheus and Grafana",
    "pip": "downloads packages",
    "python3 -m venv": "downloads packages",
    ".venv/bin/pip": "downloads packages",
    ".venv/bin/berry": "tells of a run on Slurm",
    "git clone": "needs the repository's address",
}
"""Beginnings of command lines that no test here runs, and why."""

ELSEWHERE = {
    ("CONTRIBUTING.md", "python"): "tests/docs/test_docs.py makes a run with the parts that it adds",
    ("data.md", "python"): "tests/docs/test_data_page.py compares what each tool reads with what was kept",
    ("data.md", "sql"): "tests/docs/test_data_page.py",
    ("exports.md", "sh"): "tests/stages/export/test_page.py counts the rows that each writes",
}
"""What another test runs, of a page and in a language."""

STANDS_FOR = {
    "RUN": "runs/tiny",
    "CONFIG": "configs/tiny.yaml",
    "DIR": "out",
    "PROBLEM": "synthetic-3-0",
    "DATASET": "gsm8k",
}
OF_PAGES = {"models.md": {"CONFIG": str(ROOT / "configs" / "recipes" / "escalate.yaml")}}
"""What is put in place of words in capitals, in all pages and in single ones."""


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    language: str
    text: str


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    for language, text in FENCE.findall(page.read_text()):
        if not languages or language in languages:
            yield Block(page, language, text)


def lines(page: Path) -> Iterator[list[str]]:
    """The words of each command in the page's blocks of shell."""
    for block in blocks(page, "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words: list[str] = []
            for word in [*shlex.split(SYNOPSIS.sub("", line), comments=True), "&&"]:
                if word in ("&&", "|", "&"):
                    if words:
                        yield words
                    words = []
                else:
                    words.append(word)


def mentions(page: Path) -> Iterator[list[str]]:
    """The words of commands in running text that have more than a name, as in `berry view RUN`."""
    text = FENCE.sub("", page.read_text())
    for code in re.findall(r"`((?:berry|make|python -P|PYTHONPATH=\. python -P) [^`]+)`", text):
        if "…" not in code:
            yield from ([*shlex.split(part)] for part in code.split(" && "))


def reason(words: list[str]) -> str | None:
    """Why a command is not run, or None."""
    line = shlex.join(words[1:] if words[0].startswith("PYTHONPATH=") else words)
    return next((why for start, why in NOT_RUN.items() if line == start or line.startswith(start)), None)


def each_page(*languages: str) -> Any:
    pages = [page for page in PAGES if any(blocks(page, *languages))]
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped configurations on the synthetic engine, small runs of them, and the files that pages
    take as given."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "configs", folder / "configs")
    for path in (folder / "configs").glob("*.yaml"):
        raw = yaml.safe_load(path.read_text())
        small(raw.get("run", raw))
        if "samples" in raw:
            raw["samples"] = 16
        path.write_text(yaml.safe_dump(raw))
    quickstart = ROOT / "docs" / "quickstart.md"
    [mine] = blocks(quickstart, "yaml")
    raw = yaml.safe_load(mine.text)
    small(raw)
    (folder / "mine.yaml").write_text(yaml.safe_dump(raw))
    (folder / "mine.jsonl").write_text(next(blocks(quickstart, "json")).text)
    (folder / "checks.py").write_text(next(blocks(quickstart, "python")).text)
    sums = [{"question": f"What is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(3, 6)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, sums)))
    answers = [{"problem_id": f"gsm8k-{n}", "response": "It is \\boxed{6}."} for n in range(3)]
    (folder / "responses.jsonl").write_text("\n".join(map(json.dumps, answers)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        called(["run", "configs/demo.yaml"])
        called(["run", "configs/tiny.yaml"])
        called(["run", "configs/tiny.yaml", "rollout.policy={type: best_of_n, n: 16}", "--run", "runs/samples"])
    for name in ("before", "after"):
        shutil.copytree(folder / "runs" / "samples", folder / "runs" / name)
    return folder


def small(raw: dict[str, Any]) -> None:
    """Puts the synthetic engine into a run's configuration, few problems, and some that this engine can solve."""
    if "engine" in raw and raw["engine"].get("type") != "synthetic":
        raw["engine"] = {"type": "synthetic", "max_model_len": 1024, "tokens_per_s": 20000}
        raw["rollout"]["sampling"]["max_tokens"] = 64
    raw["problems"] = [{**one, "count": min(one["count"], 1)} if "count" in one else one for one in raw["problems"]]
    raw["problems"].append({"type": "synthetic", "count": 4, "seed": 3, "steps": [2, 3]})


def called(words: list[str]) -> str:
    """What a command of `berry` prints, in this process where it can be told so."""
    command = get_command(app).get_command(None, words[0])  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    local = ["--local"] if any("--local" in parameter.opts for parameter in command.params) else []
    done = CliRunner().invoke(app, [*words, *local])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_its_language(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


def test_there_is_much_to_run() -> None:
    found = [words for page in PAGES for words in lines(page)]
    assert len(found) > 60
    assert sum(reason(words) is None for words in found) > 40


def test_what_is_not_run_is_there() -> None:
    """A reason without a command is one that was forgotten."""
    found = [shlex.join(words) for page in PAGES for words in (*lines(page), *mentions(page))]
    assert [start for start in NOT_RUN if not any(start in line for line in found)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_words_are_those_that_the_program_takes(page: Path) -> None:
    """Also of commands that are not run: options and their values, targets of make, files and flags of benchmarks."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    top: Any = get_command(app)
    for words, whole in (*((w, True) for w in lines(page)), *((w, False) for w in mentions(page))):
        told = shlex.join(words)
        if words[0] == "berry":
            command, rest = top, [STANDS_FOR.get(word, word) for word in words[1:]]
            while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
                assert rest[0] in command.commands, f"{page.name}: {told}"
                command = command.commands[rest.pop(0)]
            if whole:
                command.make_context(command.name, list(rest))
            known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
            options = {w.partition("=")[0] for w in rest if re.match(r"--?[a-z]", w)}
            assert options <= known, f"{page.name}: {told}"
        elif words[0] == "make":
            assert set(words[1:]) <= targets, f"{page.name}: {told}"
        elif "-P" in words:
            file = ROOT / words[words.index("-P") + 1]
            assert file.is_file(), f"{page.name}: {told}"
            code = file.read_text()
            for word in words:
                assert not word.startswith("--") or f'"{word.partition("=")[0]}"' in code, (
                    f"{page.name}: {told}: {word}"
                )
        elif whole:
            assert reason(words), f"{page.name}: {told}"


@each_page("yaml", "json", "toml")
def test_data_is_what_berry_reads(page: Path) -> None:
    given: dict[str, Any] = {
        "problems": [{"type": "synthetic", "count": 4}],
        "engine": {"type": "vllm", "model": "smollm2-135m"},
    }
    for block in blocks(page, "yaml"):
        raw = yaml.safe_load(block.text)
        if "securityContext" in raw:  # Kubernetes', of which Berry reads nothing
            continue
        if "run" in raw:
            validate({**raw, "run": {**given, **raw["run"]}}, Evaluation, where=page.name, base=ROOT / "configs")
        else:  # a part of a configuration, which goes on from the page's earlier parts
            given |= raw
            if "engines" in given:
                given.pop("engine", None)
            validate({"name": "example", **given}, RunConfig, where=page.name, base=ROOT / "configs")
    for block in blocks(page, "json"):
        for number, line in enumerate(block.text.splitlines()):
            row = json.loads(line)
            assert (
                row["role"] in ("system", "user", "assistant", "tool")
                if "role" in row
                else parse_problem(row, str(number))
            )
    for block in blocks(page, "toml"):
        tomllib.loads(block.text)


@each_page("python")
def test_python_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    for block in blocks(page, "python"):
        code = compile(block.text, page.name, "exec")
        if (page.name, "python") not in ELSEWHERE:
            exec(code, names)


@pytest.mark.slow
@each_page("sh")
def test_commands_run(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "100")
    shutil.rmtree(place / "out", ignore_errors=True)
    if (page.name, "sh") in ELSEWHERE:
        return
    stands_for = {**STANDS_FOR, **OF_PAGES.get(page.name, {})}
    for words in lines(page):
        if reason(words) is None:
            called([stands_for.get(word, word) for word in words[1:]])
