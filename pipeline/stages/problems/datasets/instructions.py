"""Imports instructions, queries and proofs: IFEval, Spider and BIRD, MiniF2F."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

from berry.pipeline.errors import InputError
from berry.pipeline.stages.problems.datasets.base import Imported, Importer, SourceRow, Unusable, first, made, opened

MOST_SETUP = 1 << 20
"""Characters of the statements that make a database; they go along with each of its problems."""


def ifeval(row: SourceRow, number: str) -> Imported:
    """google/IFEval: `prompt`, `instruction_id_list`, `kwargs` (one object for each instruction)."""
    instructions = list(row["instruction_id_list"])
    settings = [opened(one, "kwargs") or {} for one in opened(row["kwargs"], "kwargs")]
    if len(instructions) != len(settings):
        raise Unusable(f"{len(instructions)} instructions and {len(settings)} kwargs")
    constraints = [_constraint(name, given) for name, given in zip(instructions, settings, strict=True)]
    spec = {"type": "constraints", "constraints": constraints}
    return made(f"ifeval-{row.get('key', number)}", row["prompt"], spec, "ifeval", meta={"instructions": instructions})


def _constraint(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """One of IFEval's instructions as a constraint. Raises Unusable for one that is not known."""

    def bounds(count: str, relation: str) -> dict[str, int]:
        many, how = int(given[count]), given.get(relation) or "at least"
        return {"max": max(0, many - 1)} if how == "less than" else {"min": many}

    match name.rpartition(":")[2]:
        case "existence":
            return {"kind": "contains", "words": list(given["keywords"])}
        case "frequency":
            return {"kind": "keyword", "word": given["keyword"], **bounds("frequency", "relation")}
        case "forbidden_words":
            return {"kind": "excludes", "words": list(given["forbidden_words"])}
        case "letter_frequency":
            return {"kind": "letter", "letter": given["letter"], **bounds("let_frequency", "let_relation")}
        case "response_language":
            return {"kind": "language", "code": given["language"]}
        case "number_sentences":
            return {"kind": "sentences", **bounds("num_sentences", "relation")}
        case "number_paragraphs":
            count = int(given["num_paragraphs"])
            return {"kind": "paragraphs", "divider": "***", "min": count, "max": count}
        case "number_words":
            return {"kind": "words", **bounds("num_words", "relation")}
        case "nth_paragraph_first_word":
            place = {"paragraph": int(given["nth_paragraph"]), "paragraphs": int(given["num_paragraphs"])}
            return {"kind": "first_word", **place, "word": given["first_word"]}
        case "number_placeholders":
            return {"kind": "placeholders", "min": int(given["num_placeholders"])}
        case "postscript":
            return {"kind": "postscript", "marker": given["postscript_marker"]}
        case "number_bullet_lists":
            count = int(given["num_bullets"])
            return {"kind": "bullets", "min": count, "max": count}
        case "constrained_response":
            options = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
            return {"kind": "one_of", "options": list(options)}
        case "number_highlighted_sections":
            return {"kind": "highlights", "min": int(given["num_highlights"])}
        case "multiple_sections":
            return {"kind": "sections", "name": given["section_spliter"], "min": int(given["num_sections"])}
        case "json_format":
            return {"kind": "json"}
        case "title":
            return {"kind": "title"}
        case "two_responses":
            return {"kind": "two_responses"}
        case "repeat_prompt":
            return {"kind": "repeats_prompt", "prompt": given["prompt_to_repeat"]}
        case "end_checker":
            return {"kind": "ends_with", "text": given["end_phrase"]}
        case "quotation":
            return {"kind": "quoted"}
        case "capital_word_frequency":
            return {"kind": "capital_words", **bounds("capital_frequency", "capital_relation")}
        case "english_capital":
            return {"kind": "casing", "case": "upper"}
        case "english_lowercase":
            return {"kind": "casing", "case": "lower"}
        case "no_comma":
            return {"kind": "no_commas"}
        case _:
            raise Unusable(f"instruction {name!r} is not known")


def sql(databases: str) -> Importer:
    """An importer of Spider and BIRD, whose databases lie under `databases` as DB/DB.sqlite: `db_id`, `question`, the
    right `query` (or `SQL`), perhaps `evidence`. Raises InputError where there is no such folder."""
    if not Path(databases).is_dir():
        raise InputError(
            f"--databases {databases}: no such folder; give the one that holds DB/DB.sqlite for each db_id"
        )

    def one(row: SourceRow, number: str) -> Imported:
        name = str(row["db_id"])
        if "/" in name or name.startswith("."):
            raise Unusable(f"db_id {name!r} is no folder's name")
        setup = _statements(str(Path(databases) / name / f"{name}.sqlite"))
        query = first(row, "query", "SQL")
        order = "kept" if re.search(r"\border\s+by\b(?![^()]*\))", query, re.IGNORECASE) else "free"
        tables = "\n".join(line for line in re.findall(r"CREATE TABLE.*?;", setup, re.DOTALL | re.IGNORECASE))
        known = f"\n\nWhat is known: {row['evidence']}" if row.get("evidence") else ""
        text = f"Write one SQLite query. Answer with it in a code block.\n\n{tables}\n\n{row['question']}{known}"
        spec = {"type": "sql", "setup": setup, "query": query, "order": order}
        meta = {"db_id": name, "difficulty": row.get("difficulty")}
        identity = f"sql-{row.get('question_id', number)}"
        return made(identity, text, spec, "sql", meta=meta, reference=f"```sql\n{query}\n```")

    return one


@lru_cache(maxsize=64)
def _statements(path: str) -> str:
    """The statements that make a database again, from its file."""
    if not Path(path).is_file():
        raise Unusable(f"there is no database {path}")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            statements: list[str] = []
            size = 0
            for statement in connection.iterdump():
                size += len(statement)
                if size > MOST_SETUP:
                    raise Unusable(f"its database has more than {MOST_SETUP >> 20} MiB of statements")
                statements.append(statement)
    except sqlite3.Error as error:
        raise Unusable(f"its database can't be read: {error}") from error
    return "\n".join(statements)


def minif2f(row: SourceRow, number: str) -> Imported:
    """MiniF2F for Lean 4: `formal_statement` (with or without a closing `:= by sorry`), `header`, an informal text."""
    statement = re.sub(r":=\s*(?:by\b)?\s*(?:sorry)?\s*\Z", "", first(row, "formal_statement").strip()).strip()
    informal = row.get("informal_stmt") or row.get("informal_prefix") or ""
    ask = "Prove this in Lean 4. Answer with the whole theorem in one code block."
    text = "\n\n".join(filter(None, [ask, informal.strip(), f"```lean\n{statement}\n```"]))
    spec = {"type": "formal", "system": "lean", "statement": statement, "header": row.get("header") or ""}
    identity = str(row.get("id") or row.get("name") or number)
    return made(f"minif2f-{identity}", text, spec, "minif2f", meta={"split": row.get("split")})
