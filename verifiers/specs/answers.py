"""Defines the specifications whose response is text of a given form: constraints, a choice, JSON, a rubric, a query."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from berry.verifiers.specs.base import DEFAULT_PLACES, Place, Spec
from berry.verifiers.specs.code import CodeSpec

# ---- constraints ----------------------------------------------------------------------------------------------------


class Constraint(Spec):
    """One demand on a text; `weight` is its part in the whole."""

    weight: float = Field(default=1.0, gt=0)


class Amount(Constraint):
    """Bounds on a count, both included; at least one is given."""

    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("needs `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class WordCount(Amount):
    """The number of words."""

    kind: Literal["words"]


class Sentences(Amount):
    """The number of sentences."""

    kind: Literal["sentences"]


class Paragraphs(Amount):
    """The number of paragraphs, divided by blank lines or by a line of `***`."""

    kind: Literal["paragraphs"]
    divider: Literal["blank", "***"] = "blank"


class Keyword(Amount):
    """How often a word or phrase occurs, in any casing."""

    kind: Literal["keyword"]
    word: str = Field(min_length=1)


class Letter(Amount):
    """How often a letter or sign occurs, in any casing."""

    kind: Literal["letter"]
    letter: str = Field(min_length=1, max_length=1)


class CapitalWords(Amount):
    """The number of words in capitals."""

    kind: Literal["capital_words"]


class Bullets(Amount):
    """The number of list items, lines that begin with `*` or `-`."""

    kind: Literal["bullets"]


class Highlights(Amount):
    """The number of passages between single or double asterisks."""

    kind: Literal["highlights"]


class Sections(Amount):
    """The number of sections, each begun by `name` and a number or letter."""

    kind: Literal["sections"]
    name: str = Field(min_length=1)


class Placeholders(Amount):
    """The number of placeholders in square brackets."""

    kind: Literal["placeholders"]


class Contains(Constraint):
    """All of `words` occur, in any casing."""

    kind: Literal["contains"]
    words: tuple[str, ...] = Field(min_length=1)


class Excludes(Constraint):
    """None of `words` occurs as a whole word, in any casing."""

    kind: Literal["excludes"]
    words: tuple[str, ...] = Field(min_length=1)


class Casing(Constraint):
    """All letters are capitals, or none is."""

    kind: Literal["casing"]
    case: Literal["upper", "lower"]


class StartsWith(Constraint):
    """The text begins with `text`, in any casing."""

    kind: Literal["starts_with"]
    text: str = Field(min_length=1)


class EndsWith(Constraint):
    """The text ends with `text`, in any casing; closing quotes behind it don't count."""

    kind: Literal["ends_with"]
    text: str = Field(min_length=1)


class FirstWord(Constraint):
    """Paragraph number `paragraph`, of exactly `paragraphs`, begins with `word`."""

    kind: Literal["first_word"]
    paragraph: int = Field(ge=1)
    paragraphs: int = Field(ge=1)
    word: str = Field(min_length=1)


class Title(Constraint):
    """Some line is a title in double angle brackets, as `<<title>>`."""

    kind: Literal["title"]


class Quoted(Constraint):
    """The whole text stands between double quotation marks."""

    kind: Literal["quoted"]


class NoCommas(Constraint):
    """The text has no comma."""

    kind: Literal["no_commas"]


class IsJson(Constraint):
    """The whole text is JSON, perhaps in a fenced block."""

    kind: Literal["json"]


class Postscript(Constraint):
    """A line at the end begins with `marker`, as `P.S.`."""

    kind: Literal["postscript"]
    marker: str = Field(min_length=1)


class OneOf(Constraint):
    """The text holds one of `options`, and no other text where `alone`."""

    kind: Literal["one_of"]
    options: tuple[str, ...] = Field(min_length=1)
    alone: bool = False


class TwoResponses(Constraint):
    """Two different texts, divided by six asterisks."""

    kind: Literal["two_responses"]


class RepeatsPrompt(Constraint):
    """The text begins with `prompt`, word for word."""

    kind: Literal["repeats_prompt"]
    prompt: str = Field(min_length=1)


class TextLanguage(Constraint):
    """The text is written in the language of this ISO 639-1 code."""

    kind: Literal["language"]
    code: str = Field(pattern=r"^[a-z]{2}$")


class Matches(Constraint):
    """A regular expression is found in the text (`wanted`), or is not."""

    kind: Literal["matches"]
    pattern: str = Field(min_length=1)
    wanted: bool = True

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        import regex

        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return pattern


AnyConstraint = Annotated[
    WordCount
    | Sentences
    | Paragraphs
    | Keyword
    | Letter
    | CapitalWords
    | Bullets
    | Highlights
    | Sections
    | Placeholders
    | Contains
    | Excludes
    | Casing
    | StartsWith
    | EndsWith
    | FirstWord
    | Title
    | Quoted
    | NoCommas
    | IsJson
    | Postscript
    | OneOf
    | TwoResponses
    | RepeatsPrompt
    | TextLanguage
    | Matches,
    Field(discriminator="kind"),
]


class ConstraintsSpec(Spec):
    """The text meets `constraints` (IFEval, Zhou et al. 2023): PASS when those met have at least `threshold` of the
    weight, by default all."""

    type: Literal["constraints"] = "constraints"
    constraints: tuple[AnyConstraint, ...] = Field(min_length=1)
    threshold: float = Field(default=1.0, gt=0, le=1)


# ---- choice, JSON, rubric, query ------------------------------------------------------------------------------------


class ChoiceSpec(Spec):
    """The answer names `answer` among `options` (a letter or word each, with its text): one, or several exactly."""

    type: Literal["choice"] = "choice"
    answer: str | tuple[str, ...] = Field(min_length=1)
    options: dict[str, str] = Field(default_factory=dict)
    """Names of the options and their texts; empty: A to J without texts."""
    extract: tuple[Place, ...] = Field(default=DEFAULT_PLACES, min_length=1)


class JsonSchemaSpec(Spec):
    """The response holds JSON that fits `json_schema` (draft 2020-12 unless it says otherwise), and equals `expected`
    where that is given."""

    type: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any] | bool = True
    expected: Any = None
    compare: bool = False
    """Whether `expected` (null too) is compared."""

    @model_validator(mode="before")
    @classmethod
    def _expected_is_compared(cls, raw: Any) -> Any:
        return {"compare": "expected" in raw, **raw} if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _checks_something(self) -> Self:
        if self.json_schema is True and not self.compare:
            raise ValueError("needs `json_schema`, `expected` or both")
        return self


class Criterion(Spec):
    """One demand that a judge looks at, and its weight in the whole."""

    text: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)


class JudgedSpec(Spec):
    """Base of what a judge is asked about: `judge` names one of `verification.judges`, null the one without a name."""

    judge: str | None = None

    @model_serializer(mode="wrap")
    def _named_where_it_is(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `judge` where none is named: problems are known by a hash of this, in runs of before too."""
        plain: dict[str, Any] = handler(self)
        if self.judge is None:
            plain.pop("judge", None)
        return plain


class RubricSpec(JudgedSpec):
    """A judge looks at each of `criteria` alone, `votes` times; one is met or missed when at least `agreement` of the
    votes say so. PASS when those met have at least `threshold` of the weight, whatever the open ones are."""

    type: Literal["rubric"] = "rubric"
    criteria: tuple[Criterion, ...] = Field(min_length=1, max_length=64)
    reference: str | None = None
    votes: int = Field(default=3, ge=1, le=64)
    agreement: float = Field(default=0.6, gt=0.5, le=1)
    threshold: float = Field(default=1.0, gt=0, le=1)


class SqlSpec(CodeSpec):
    """The response is a query; its rows equal those of `query`, or `rows`, on the database that `setup` makes."""

    type: Literal["sql"] = "sql"
    dialect: Literal["sqlite", "duckdb"] = "sqlite"
    setup: str = ""
    """Statements that make the database."""
    query: str | None = None
    """The right query; its rows are what is expected."""
    rows: tuple[tuple[Any, ...], ...] | None = None
    """The rows that are expected, in place of a query."""
    order: Literal["free", "kept"] = "free"
    """Whether the rows' order counts."""
    columns: Literal["kept", "free"] = "kept"
    """Whether the columns' order counts; their names never do."""

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if (self.query is None) == (self.rows is None):
            raise ValueError("needs exactly one of `query` (the right one) or `rows` (what it gives)")
        return self
