"""Describes an export for those who find it: a data card in Markdown with the Hub's YAML header.

    StoredTree … ─► Made (models, weights, problems, licences, verifiers, drops) ─┐
    manifest, configuration ──────────────────────────────────────────────────────┴─► card ─► README.md

What the run does not say stands there as not known. `datasets.load_dataset(DIR)` finds the splits by the header.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import yaml

from berry.pipeline.config.run import RunConfig
from berry.pipeline.records import Problem
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.problems.screening import explain_screening

CARD = "README.md"
SPLITS = ("train", "validation", "heldout")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
SAMPLED_BY = ("policy", "sampling", "step", "budget", "cut", "system_prompt", "thinking")  # sections of `rollout`

_TURNS = (
    "Rows are conversations of several turns: what tools or an environment said has the role `tool` or `user`, and is "
    "not to be learned. Calls stand in: {calls}. Where the engine stopped at a call, the token that ends the turn is "
    "the template's: trainers learn it although it was not sampled."
)


@dataclass(slots=True)
class Made:
    """What trees of an export were made of, counted in problems; `weights` in sampled segments, `drops` in
    trajectories (`kept` for those that are). `rounds`: of the run; a problem that several searched is one problem."""

    rounds: int = 1
    models: Counter[str] = field(default_factory=Counter)
    weights: Counter[str] = field(default_factory=Counter)
    verifiers: Counter[str] = field(default_factory=Counter)
    licences: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    drops: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    _problems: set[str] = field(default_factory=set)  # counted so far; with one round none comes again

    def add(self, stored: StoredTree) -> bool:
        """Counts one tree; whether its problem was not counted before."""
        for node in stored.tree.walk():
            if node.parent is not None:
                self.weights[node.weights_version or "unknown"] += 1
            kind = stored.values[node.node_id].kind
            if kind is not None:
                self.kinds[kind] += 1
        columns = {name: stored.trajectories.column(name) for name in ("kept", "drop_reason")}
        for row in pa.table(columns).group_by([*columns]).aggregate([([], "count_all")]).to_pylist():
            self.drops["kept" if row["kept"] else row["drop_reason"] or "unknown"] += row["count_all"]
        if stored.problem_id in self._problems:
            return False
        if self.rounds > 1:
            self._problems.add(stored.problem_id)
        self.models[stored.model or "unknown"] += 1
        problem = stored.problem
        source, licence, verifier = origin(problem)
        self.verifiers[verifier] += 1
        self.licences[source][licence] += 1
        return True


def origin(problem: Problem | None) -> tuple[str, str, str]:
    """The source of a problem, its licence and the type of its verifier; None: its file is gone."""
    licence = str((problem.meta if problem else {}).get("license") or "not stated by the problem file")
    verifier = problem.verifier.type if problem else "unknown (the problem file is gone)"
    return (problem.source if problem else "") or "not named", licence, verifier


def counted(column: pa.ChunkedArray) -> dict[Any, int]:
    """How often each value occurs."""
    return {pair["values"]: pair["counts"] for pair in column.value_counts().to_pylist()}


def card(manifest: Mapping[str, Any], made: Made, config: RunConfig, labels: str, *, licence: str | None) -> str:
    """The card of an export. `manifest`: as written beside it; `labels`: how the format's labels come about;
    `licence`: the Hub's name of the licence under which the rows are given, None where nobody said."""
    request = manifest["request"]
    rows = sum(manifest["rows"].values())
    what = f"{request['format']}, {'token ids' if request['tokens'] else request['trainer']}"
    parts = [
        f"# {manifest['name']} ({what})",
        f"{rows:,} rows that Berry exported from the run `{manifest['name']}`, which was made with Berry "
        f"{manifest['berry'] or '(version unknown)'}.",
        *(["**Synthetic engine: no model stands behind these texts.**"] if manifest["synthetic"] else []),
        "## Counts\n\n" + _table(("split", "rows", "problems"), _counts(manifest)),
        "Splits are of different problem families: "
        + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in manifest["split"].items())
        + ".",
        "## Models and weights\n\n" + _table(("model", "problems"), made.models.most_common()),
        _table(("weights", "sampled segments"), made.weights.most_common()),
        "## Problems and their licences\n\n"
        + _table(
            ("source", "licence", "problems"),
            [(source, *one) for source, found in sorted(made.licences.items()) for one in found.most_common()],
        ),
        "Licence of the rows: " + (licence or "not stated") + ".",
        "## Verifiers\n\n" + _table(("verifier", "problems"), made.verifiers.most_common()),
        "## Sampling\n\n" + _yaml({name: _plain(getattr(config.rollout, name)) for name in SAMPLED_BY}),
        "## Pruning\n\n" + _yaml([_plain(rule) for rule in config.pruning]),
        f"Rows are of {_rows_of(request)}.\n\n" + _table(("trajectory", "count"), made.drops.most_common()),
        f"## Labels\n\n{labels or 'The format has none.'}",
        *([_table(("kind of value", "segments"), made.kinds.most_common())] if made.kinds else []),
        "Filters: " + ", ".join(f"{name} {_told(value)}" for name, value in request["filters"].items()) + ".",
        "## Contamination\n\n"
        + f"In the run: {explain_screening(manifest['screening']['run'])}.\n\n"
        + f"In this export: {explain_screening(manifest['screening']['export'], remedy='berry export --screen FILE')}.",
        "## Exactness\n\n" + _exactness(manifest["exactness"]),
        *([_TURNS.format(calls=calls)] if (calls := manifest.get("conversations")) else []),
        "## Columns\n\n" + ", ".join(f"`{name}`" for name in manifest["columns"]),
    ]
    return _header(manifest, licence) + "\n\n".join(parts) + "\n"


def _header(manifest: Mapping[str, Any], licence: str | None) -> str:
    request = manifest["request"]
    present = [split for split in SPLITS if split in manifest["rows"]]
    rows = sum(manifest["rows"].values())
    header = {
        **({"license": licence} if licence else {}),
        "pretty_name": f"{manifest['name']} ({request['format']})",
        "tags": ["berry", "reasoning", "synthetic", request["format"]],
        "task_categories": ["text-generation"],
        "size_categories": [next((name for most, name in _SIZES if rows < most), "n>10M")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}.{request['kind']}"} for split in present],
            }
        ],
    }
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n\n"


def _counts(manifest: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    rows, problems = manifest["rows"], manifest["problems"]
    return [(split, rows[split], problems[split]) for split in SPLITS if split in rows]


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [names, ["---"] * len(names), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")


def _yaml(value: Any) -> str:
    return f"```yaml\n{yaml.safe_dump(value, sort_keys=False, allow_unicode=True).strip()}\n```"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else "none" if value is None else str(value)


def _rows_of(request: Mapping[str, Any]) -> str:
    if request["source"] == "kept":
        return "what pruning kept, where the format does not say otherwise"
    return "all trajectories that the format can use, dropped ones too"


def _exactness(found: Mapping[str, Any]) -> str:
    share = found.get("exact_share")
    if share is None:
        return f"Not compared: {found.get('note', 'nothing to compare')}."
    lost = ", ".join(f"{name} {count:,}" for name, count in found["losses"].items()) or "nothing"
    return (
        f"Of {found['responses_compared']:,} responses compared, {share:.1%} come back from the model's chat template "
        f"as the token ids that were sampled; {found['changed_token_share']:.2%} of the sampled tokens are lost or "
        f"changed (responses by reason: {lost})."
    )
