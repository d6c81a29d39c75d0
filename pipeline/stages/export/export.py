"""Writes a run's trees as files that trainers read.

    StoredTree ─► ExportFormat.records ─► Layout.row ─► DIR/{train,validation,heldout}.parquet
                                                            then README.md, and manifest.json last

Rows of the three files are of different problem families, by the one split that the run's training goes by. Files are
written aside and renamed; one lease's trees are in memory at a time.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, get_args

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.problems import EvaluationSets
from berry.pipeline.config.sections.rollout.rollout import Thinking
from berry.pipeline.core.assignment.modes import rollout_of
from berry.pipeline.core.assignment.splits import Split, split_of
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import BerryError, InputError, StorageError
from berry.pipeline.stages.dataset.missing_labels import explain_missing
from berry.pipeline.stages.dataset.reading import StoredTree, count, read_trees, stored_config
from berry.pipeline.stages.export.base import ExportContext, ExportFormat, Filters, Layout, SourceOf
from berry.pipeline.stages.export.card import CARD, SPLITS, Made, card, counted
from berry.pipeline.stages.export.exactness import MOST, Exactness
from berry.pipeline.stages.export.registry import export_format, layout_of, trainer_of
from berry.pipeline.stages.export.turns import conversations
from berry.pipeline.stages.export.writer import FileKind, Writer, aside
from berry.pipeline.stages.problems.screening import Screened
from berry.pipeline.storage.run.directory import RunDir

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished"  # is there while files are written: what a killed export leaves is known by it
NEED_IDS = frozenset({"prm", "rl", "tree"})  # formats whose text rows hold token ids or log-probabilities


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export. `trainer`: whose layout, None for the format's first; `tokens`: the sampled token ids instead of
    text, in one layout for all; `source`: kept trajectories alone, or all that the format can use; `heldout_share` and
    `split_seed`: another split than the run's own (share 0: no held-out file); `screen`: evaluation sets whose
    problems are left out; `inexact`: also where a chat template would lose or change more than 0.1% of the sampled
    tokens; `licence`: of the rows, by the Hub's name for it."""

    format: str
    trainer: str | None = None
    kind: FileKind = "parquet"
    filters: Filters = field(default_factory=Filters)
    tokens: bool = False
    source: SourceOf = "kept"
    heldout_share: float | None = None
    split_seed: int | None = None
    rounds: tuple[int, ...] | None = None
    inexact: bool = False
    screen: tuple[str, ...] = ()
    licence: str | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written: by split the file, its rows and their problems. `exactness`: how the responses that were looked
    at come back through the chat template; None where that can't be known or does not matter, `exactness_note` says
    why. `conversations`: where calls stand in rows that are conversations, None where rows are none."""

    files: dict[str, str]
    rows: dict[str, int]
    problems: dict[str, int]
    synthetic: bool
    exactness: Exactness | None
    exactness_note: str
    screening: dict[str, Any]
    conversations: str | None = None


def export(
    run: RunDir,
    request: ExportRequest,
    folder: str,
    *,
    replace: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ExportResult:
    """Writes the files. Raises InputError for a layout that doesn't exist, a folder in use, nothing to write, or text
    that would lose too much of what was sampled."""
    form = export_format(request.format)
    request = changed(request, trainer=None if request.tokens else trainer_of(request.format, request.trainer))
    layout = layout_of(request.format, request.trainer, tokens=request.tokens)
    target = Path(folder)
    _check_target(target, form, replace=replace)
    config = stored_config(run)
    check_mode(config, request.mode)
    if config.text_alone and (request.tokens or request.format in NEED_IDS):
        raise InputError(
            f"--format {request.format}{' --tokens' if request.tokens else ''}: a hosted API (engine.dialect chat) "
            "gave this run text alone, without token ids or log-probabilities; export it as text (sft, dpo, pairs, orm)"
        )
    split = _split(request, config)
    speaks, why_not = _vocabulary(config if request.mode is None else config.in_mode(request.mode))
    screened = Screened(_evaluation_sets(request, config), leave_out=True, key="screening")
    compared, note = _comparison(request, speaks, why_not)
    of_turns = None if request.trainer is None else form.conversations.get(request.trainer)
    speaking = None if of_turns is None else conversations(_one_mode(config, request), speaks)
    if of_turns is not None and speaking is not None:
        layout = of_turns(speaking)
    files: dict[str, Writer] = {}
    rows: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    made = Made(rounds=1 if config.rounds is None else config.rounds.count)
    seen: Counter[str] = Counter()
    total, synthetic, without_problem = count(run, request.rounds), False, 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / UNFINISHED).touch()
        for number, stored in enumerate(read_trees(run, rounds=request.rounds), start=1):
            progress(number, max(total, number))
            if request.mode not in (None, stored.mode):
                continue
            spoken = None if speaks is None else speaks.under(stored.template_args)
            synthetic = synthetic or stored.synthetic
            verdicts = counted(stored.trajectories.column("verdict"))
            seen.update({verdict or "unchecked": count for verdict, count in verdicts.items()})
            seen["kept"] += len(stored.kept)
            if request.screen and screened.leaves_out(stored.problem_id, _asked(stored)):
                continue
            without_problem += stored.problem is None
            part = split.part(stored.family)
            thinking = rollout_of(config, stored.problem_id).thinking
            context = changed(_context(request, config, part, speaks, thinking), conversations=speaking)
            before = rows[part]
            for record in _some(form.records(stored, context), request.filters.per_problem, stored.problem_id):
                if part not in files:  # made once: opening a file again would empty it
                    files[part] = Writer(target / f"{part}.{request.kind}", request.kind, layout)
                files[part].add(layout.row(record))
                rows[part] += 1
                _refuse_results(request, form, record, config)
                _compare(compared, form, record, spoken)
            if rows[part] > before:
                problems[part] += made.add(stored)
        if not files:
            raise InputError(_nothing(run, request, form, without_problem, screened.record(), seen))
        _refuse_inexact(request, compared)
        for writer in files.values():
            writer.finish()
    except OSError as error:
        raise StorageError(f"{folder}: can't be written: {error.strerror or error}") from error
    finally:
        for writer in files.values():
            writer.abandon()
        if not any(writer.path.exists() for writer in files.values()):
            (target / UNFINISHED).unlink(missing_ok=True)
    done = ExportResult(
        files={s: str(w.path) for s, w in files.items()},
        rows={s: rows[s] for s in files},
        problems={s: problems[s] for s in files},
        synthetic=synthetic,
        exactness=compared if compared is not None and compared.responses else None,
        exactness_note=note,
        screening=screened.record(),
        conversations=None if speaking is None else speaking.where_calls_are,
    )
    for name, text in form.files.items():
        (target / name).write_text(text, encoding="utf-8")
    manifest = _manifest(run, request, done, layout, form, split, config)
    shown = config if request.mode is None else config.in_mode(request.mode)
    (target / CARD).write_text(card(manifest, made, shown, form.labels, licence=request.licence), encoding="utf-8")
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    (target / UNFINISHED).unlink()
    return done


def _evaluation_sets(request: ExportRequest, config: RunConfig) -> EvaluationSets:
    """What the rows are held against: the files asked for, by the measure of the run's own screening."""
    own = config.screening
    return EvaluationSets(files=request.screen, fields=own.fields, ngram=own.ngram, overlap=own.overlap)


def _asked(stored: StoredTree) -> str:
    """The problem's text; where the run's problem file is gone, what the model was given."""
    if stored.problem is not None:
        return stored.problem.text
    return "\n\n".join(message["content"] for message in stored.messages if message["role"] != "system")


def _split(request: ExportRequest, config: RunConfig) -> Split:
    if request.heldout_share is None:
        own = split_of(config)
        return own if request.split_seed is None else Split(own.heldout_share, own.validation_share, request.split_seed)
    return Split(request.heldout_share, 0.0, request.split_seed or 0)


def _vocabulary(config: RunConfig) -> tuple[Vocabulary | None, str]:
    """The run's tokenizer, or why there is none. Raises ConfigError where the models of a run have several."""
    engines = {name: alone.engine for name, alone in config.each_generator.items()}
    if len(engines) > 1:
        return vocabulary.of_all(engines, remedy="rows are made with that of one; name its mode with --mode"), ""
    try:
        return vocabulary.of_engine(next(iter(engines.values()))), ""
    except BerryError as error:
        return None, f"the run's tokenizer can't be loaded ({error})"


def _comparison(request: ExportRequest, speaks: Vocabulary | None, why_not: str) -> tuple[Exactness | None, str]:
    """What to count in, and what to say where nothing can be compared."""
    if request.tokens:
        return None, "the rows are the sampled token ids"
    if speaks is None:
        return None, why_not
    if speaks.conversation is None:
        return None, "the run's engine has no chat template"
    return Exactness(), "the format holds no response"


def _compare(compared: Exactness | None, form: ExportFormat, record: Any, speaks: Vocabulary | None) -> None:
    if compared is None or speaks is None or speaks.conversation is None:
        return
    for sampled in form.sampled(record):
        compared.add(sampled, speaks.conversation)


def _refuse_results(request: ExportRequest, form: ExportFormat, record: Any, config: RunConfig) -> None:
    """Refuses text in which a trainer would take what tools said for the model's own words."""
    if request.tokens or request.inexact or form.tokens is None:
        return
    if any(sampled.holds_results and sampled.turns is None for sampled in form.sampled(record)):
        where = "" if config.rollout.environment else f" (calls of type {config.rollout.calls.type})"
        raise InputError(
            f"--format {request.format}: responses hold tool results{where}, which a trainer would learn from their "
            "text as if the model had written them; --tokens writes the sampled ids with a mask that leaves results "
            "out, or --inexact the text all the same"
        )


def _refuse_inexact(request: ExportRequest, compared: Exactness | None) -> None:
    changed = None if compared is None else compared.changed_share
    if compared is None or changed is None or changed <= MOST or request.inexact:
        return
    raise InputError(
        f"--format {request.format}: through the model's chat template {changed:.1%} of the sampled tokens would be "
        f"lost or changed: {compared.explain()}; {compared.remedy()}, or --inexact to write the text all the same"
    )


def check_mode(config: RunConfig, mode: str | None) -> None:
    """Raises InputError where a run has no mode of this name."""
    names = [known.name for known in config.rollout.modes]
    if mode is not None and mode not in names:
        there = f"the modes {', '.join(names)}" if names else "no modes"
        raise InputError(f"--mode {mode}: the run has {there}")


def _one_mode(config: RunConfig, request: ExportRequest) -> RunConfig:
    """The configuration whose tools a conversation's rows name. Raises InputError where modes differ in them."""
    if request.mode is not None:
        return config.in_mode(request.mode)
    first, *others = config.each_mode
    if any((one.rollout.tools, one.rollout.calls) != (first.rollout.tools, first.rollout.calls) for one in others):
        raise InputError(
            f"--format {request.format}: rows that are conversations name the tools that the model had, and the modes "
            "of this run differ in them: --mode NAME, or --tokens"
        )
    return first


def _context(
    request: ExportRequest, config: RunConfig, part: str, speaks: Vocabulary | None, thinking: Thinking | None
) -> ExportContext:
    pieces = None if speaks is None else speaks.pieces
    return ExportContext(
        step=config.rollout.step,
        thinking=thinking,
        filters=request.filters,
        split=part,
        source=request.source,
        decode=None if speaks is None else speaks.decode,
        rendered=None if pieces is None else (lambda ids: pieces.decode(list(ids), skip_special_tokens=False)),
    )


def _manifest(
    run: RunDir,
    request: ExportRequest,
    done: ExportResult,
    layout: Layout,
    form: ExportFormat,
    split: Split,
    config: RunConfig,
) -> dict[str, Any]:
    """What was asked for and written, for programs; the card tells the same to readers."""
    exactness = {"note": done.exactness_note} if done.exactness is None else done.exactness.as_json()
    versions = run.versions()
    return {
        "run": run.location.url.rstrip("/").rpartition("/")[2],
        "name": config.name,
        "berry": versions.get("berry"),
        "request": asdict(request),
        "split": asdict(split),
        "rows": done.rows,
        "problems": done.problems,
        "columns": layout.schema.names,
        "exactness": exactness,
        "conversations": done.conversations,
        "screening": {"run": versions.get("screening"), "export": done.screening},
        "files": sorted(form.files),
        "synthetic": done.synthetic,
    }


def _check_target(target: Path, form: ExportFormat, *, replace: bool) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"-o {target}: is a file; give a folder")
    inside = [p.name for p in target.iterdir()] if target.exists() else []
    if not inside:
        return
    is_unfinished = UNFINISHED in inside
    if MANIFEST not in inside and not is_unfinished:
        raise InputError(f"-o {target}: holds other files; give a new folder")
    if not replace:
        what = "what an interrupted export left" if is_unfinished else "an export already"
        raise InputError(f"-o {target}: holds {what}; give another folder, or --replace")
    if MANIFEST in inside:
        for name in json.loads((target / MANIFEST).read_text(encoding="utf-8")).get("files", ()):
            (target / Path(name).name).unlink(missing_ok=True)
    named = [target / f"{part}.{kind}" for part in SPLITS for kind in get_args(FileKind)]
    own = [target / name for name in (MANIFEST, CARD, *form.files, UNFINISHED)]
    for path in (*named, *map(aside, named), *own):
        path.unlink(missing_ok=True)


def _some(records: Iterator[Any], limit: int | None, problem_id: str) -> Iterator[Any]:
    """At most `limit` records, each subset as likely as another (reservoir sampling), in their order."""
    if limit is None:
        yield from records
        return
    chance = random.Random(problem_id)
    held: list[tuple[int, Any]] = []
    for number, record in enumerate(records):
        if number < limit:
            held.append((number, record))
        elif (at := chance.randrange(number + 1)) < limit:
            held[at] = (number, record)
    yield from (record for _, record in sorted(held, key=lambda one: one[0]))


_SEEN = {
    "pass": "passed",
    "fail": "failed",
    "unverifiable": "could not be checked",
    "unchecked": "were not",
    "kept": "were kept",
}


def _nothing(
    run: RunDir,
    request: ExportRequest,
    form: ExportFormat,
    without_problem: int,
    screening: dict[str, Any],
    seen: Counter[str],
) -> str:
    where = f"{run.location.show()}: nothing to export as {request.format}"
    if request.format == "rl" and without_problem:
        return f"{where}: the run's problem files can't be read any more; restore them where run.yaml says they are"
    if screening["overlapping"] and len(screening["overlapping"]) == screening["looked_at"]:
        return f"{where}: all problems overlap with the evaluation sets of --screen; give other sets, or none"
    if form.needs_labels and (lacking := explain_missing(run, by_name="--labels")) is not None:
        return f"{where}, since its steps have no labels: {lacking}"
    of = ", ".join(f"{seen[name]:,} {said}" for name, said in _SEEN.items())
    return f"{where}: {form.nothing} (of {sum(seen.values()) - seen['kept']:,} trajectories {of})"
