"""What is to be labelled and how the loop should go about it: the one file a team writes, task.toml."""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from stillhouse.errors import InputError, TaskError

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Frozen(BaseModel):
    """A part of task.toml: read only, and a key it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(Frozen):
    """One class: its name, a sentence for teacher and people, other spellings a teacher may use."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    aliases: tuple[str, ...] = ()


class Data(Frozen):
    """Where the texts are. Paths are relative to task.toml. JSONL, CSV and Parquet are read by their suffix.

    `pair` names the column of a second text (a target, a premise); `tokens` that of the given tokens, a list of texts;
    `focus` that of the position of the token a question is about (a predicate); `image` that of an address. `convert`
    is MODULE:FUNCTION, which turns a row into a row with a text (see docs/how-to/other-inputs.md).
    `note` says what readers of a report must know about the texts: it stands on top of every report.
    """

    pool: str
    text: str = "text"
    id: str = "id"
    pair: str | None = None
    tokens: str | None = None
    focus: str | None = None
    image: str | None = None
    convert: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    metadata: tuple[str, ...] = ()
    gold: str | None = None
    gold_label: str = "label"
    duplicate_texts: Literal["error", "drop"] = "error"
    max_chars: PositiveInt = 20_000
    note: str = ""


Api = Literal["openai_chat", "openai_decisions", "systemone", "anthropic_messages"]
_OPENAI = {"base_url": "https://api.openai.com/v1", "api_key_env": "OPENAI_API_KEY"}
_ANTHROPIC = {"base_url": "https://api.anthropic.com/v1", "api_key_env": "ANTHROPIC_API_KEY"}
_MAKERS: Mapping[Api, Mapping[str, str]] = {
    "openai_chat": _OPENAI,
    "openai_decisions": _OPENAI,
    "systemone": {"base_url": "http://localhost:8000/v1", "api_key_env": "SYSTEMONE_API_KEY"},
    "anthropic_messages": _ANTHROPIC,
}


class Teacher(Frozen):
    """One teacher and prompt variant: a source of votes. `base_url` is an address that speaks `api`.

    `api` is the shape of its requests: OpenAI's chat, which most servers copy, OpenAI's decisions, System One's, or
    Anthropic's messages.
    Without `base_url` and `api_key_env` they are those of the maker of the API. `batch` hands all requests in as batches,
    at half the price and within a day.

    `recording` starts the recorded teacher on that file of replies instead of calling `base_url`. `local` is the folder or
    Hub id of a causal or seq2seq language model to run on this machine instead (one or many labels a text).
    `context_tokens` is how much of one text a request carries, about 6,000 tokens unless said: a longer text is asked in
    overlapping windows.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    model: str
    api: Api = "openai_chat"
    base_url: Annotated[str, Field(validate_default=True)] = ""
    api_key_env: Annotated[str, Field(validate_default=True)] = ""
    batch: bool = False
    recording: str | None = None
    local: str | None = None
    label_order: Literal["as_given", "reversed"] = "as_given"
    ask: Literal["auto", "logprobs", "samples", "verbalised"] = "auto"
    samples: PositiveInt = 2
    context_tokens: PositiveInt | None = None
    max_in_flight: PositiveInt = 32
    timeout_s: PositiveFloat = 60.0
    max_tries: PositiveInt = 6

    @field_validator("base_url", "api_key_env")
    @classmethod
    def _of_its_maker(cls, value: str, info: ValidationInfo) -> str:
        """The key of one maker must not go to another because a default did not follow the API."""
        return value or _MAKERS[info.data.get("api", "openai_chat")][str(info.field_name)]


class Budget(Frozen):
    """What may be spent in all. `teacher_usd` None means no cap on money; `human_labels` caps people's answers."""

    teacher_usd: Annotated[float, Field(ge=0)] | None = None
    human_labels: Annotated[int, Field(ge=0)] | None = None
    seconds_per_answer: PositiveFloat = 15.0
    usd_per_hour_of_people: Annotated[float, Field(ge=0)] = 30.0


class Student(Frozen):
    """The model to train: a base by path, Hub id or `package:NAME`, and how it is adapted.

    `recipe` "auto" chooses between a head on the frozen base and LoRA by held-out likelihood, once the loop stops;
    the rounds before use the head. "lora" and "head" use just that in every round; "generate" (kind "fields") adapts a
    causal language model that writes the fields. `answer_weight` is the weight of a person's answer beside 1 for a
    believed label; `target_sharpness` the power believed distributions are raised to. `epochs` is 1 for labels of whole
    texts, and EPOCHS of the kind where tokens are labelled, unless it is given.
    """

    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    recipe: Literal["auto", "head", "lora", "generate"] = "auto"
    lora_rank: PositiveInt = 8
    lora_alpha: PositiveInt = 16
    lora_dropout: Share = 0.0
    epochs: PositiveInt = 1
    learning_rate: PositiveFloat = 4e-3
    tokens_per_batch: PositiveInt = 2048
    max_tokens: PositiveInt = 256
    answer_weight: PositiveFloat = 1.0
    target_sharpness: PositiveFloat = 2.0
    folds: Annotated[int, Field(ge=2)] = 5
    threads: PositiveInt = 2


class Selection(Frozen):
    """How many items a round asks of people, and which share is drawn uniformly at random and asked blind.

    The first batch is an audit, all of it random, where the teacher's own variants agree at the target accuracy: then
    the question is whether it may be trusted as it is, and only random picks can answer that.
    """

    batch: PositiveInt = 95
    random_share: Share = 0.2
    near_duplicate_cosine: Share = 0.98


class Desk(Frozen):
    """Where people answer: the embedded Argilla, a server by URL and key, or files.

    `rehearse` names a file of known labels: simulated experts answer from it, and every report calls them rehearsed.
    """

    kind: Literal["embedded", "argilla", "files"] = "embedded"
    url: str = ""
    api_key_env: str = "ARGILLA_API_KEY"
    workspace: str = "stillhouse"
    min_submitted: PositiveInt = 1
    rehearse: str | None = None
    rehearse_label: str = "label"
    rehearse_error_rate: Share = 0.0
    rehearse_annotators: PositiveInt = 2

    @model_validator(mode="after")
    def _reachable(self) -> "Desk":
        if self.kind == "argilla" and not self.url:
            raise ValueError('desk.url: expected the address of the Argilla server, because desk.kind is "argilla"')
        return self


class Stop(Frozen):
    """When enough is enough: `target_accuracy` is reached once the lower bound of the delivered labels' accuracy is
    there; the gain is used up once the last `patience` rounds together cannot have gained `min_gain`.
    """

    max_rounds: PositiveInt = 10
    min_gain: Share = 0.01
    patience: PositiveInt = 1
    target_accuracy: Share = 0.95
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95


# Adapters of students that label tokens go on learning where a text's one label is learnt in one epoch: on the helpdesk's
# entities, all known (1,038 messages), strict F1 is .693 after 6 and .707 after 12.
EPOCHS = {"spans": 6, "tokens": 3, "roles": 6, "fields": 6}


class FieldSpec(Frozen):
    """One field to fill from a text. `many` allows several values; a field that the text does not fill is null.

    text: as the text has it. number: digits with a point. date: YYYY-MM-DD, with [] for a part that is left blank.
    choice: one of `choices`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_ -]*$")]
    type: Literal["text", "number", "date", "choice"] = "text"
    many: bool = False
    choices: tuple[str, ...] = ()
    description: str = ""

    @model_validator(mode="after")
    def _choices(self) -> "FieldSpec":
        if (self.type == "choice") != bool(self.choices):
            raise ValueError(f'fields: {self.name!r}: choices belong to the type "choice", and only to it')
        return self


KindName = Literal["single_label", "multi_label", "spans", "tokens", "roles", "fields"]
QUESTIONS: Mapping[KindName, str] = {
    "single_label": "Which label fits the text best?",
    "multi_label": "Which labels apply to the text?",
    "spans": "Mark every passage of the text that one of the labels describes.",
    "tokens": "Which tag fits each token best?",
    "roles": "Mark what plays a role for the predicate.",
    "fields": "What does the text say of each field?",
}


class Task(Frozen):
    """Everything in task.toml. Labels keep their order: it is the order of every probability in the store.

    `ordinal` says that the labels of a single_label task are steps of a scale, in their order. `overlapping` lets
    spans of different labels overlap. `fields` belong to the kind "fields" and stand in the place of labels. `question` is
    that of the kind (QUESTIONS) unless the team writes its own.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    kind: KindName = "single_label"
    question: Annotated[str, Field(validate_default=True)] = ""
    guidelines: str = ""
    people_guidelines: str = ""
    ordinal: bool = False
    overlapping: bool = False
    fields: tuple[FieldSpec, ...] = ()
    labels: Annotated[tuple[Label, ...], Field(validate_default=True)] = ()
    data: Data
    teachers: tuple[Teacher, ...]
    budget: Budget = Budget()
    student: Student = Student()
    selection: Selection = Selection()
    desk: Desk = Desk()
    stop: Stop = Stop()
    seed: int = 0

    @field_validator("question")
    @classmethod
    def _question_of_kind(cls, question: str, info: ValidationInfo) -> str:
        return question if question.strip() else QUESTIONS[info.data.get("kind", "single_label")]

    # One validator a field, not one for the whole: pydantic skips the latter as soon as any field has a mistake.
    @field_validator("labels")
    @classmethod
    def _distinct_labels(cls, labels: tuple[Label, ...], info: ValidationInfo) -> tuple[Label, ...]:
        kind = info.data.get("kind", "single_label")
        if problems := _label_problems(labels, kind) + _field_problems(info.data.get("fields", ()), kind):
            raise ValueError("\n".join(problems))
        return labels

    @field_validator("data")
    @classmethod
    def _columns_of_kind(cls, data: Data, info: ValidationInfo) -> Data:
        kind = info.data.get("kind", "single_label")
        wanted = {"tokens": ("tokens",), "roles": ("tokens", "focus")}.get(kind, ())
        if missing := [name for name in wanted if getattr(data, name) is None]:
            raise ValueError(f'data.{missing[0]}: expected the name of a column, because kind is "{kind}"')
        return data

    @field_validator("teachers")
    @classmethod
    def _distinct_teachers(cls, teachers: tuple[Teacher, ...]) -> tuple[Teacher, ...]:
        problems = [] if teachers else ["teachers: expected at least one [[teachers]] table, found none"]
        names = [teacher.name for teacher in teachers]
        problems += [
            f"teachers: the name {n!r} is used twice" for n in sorted({n for n in names if names.count(n) > 1})
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return teachers

    @field_validator("student")
    @classmethod
    def _recipe_of_kind(cls, student: Student, info: ValidationInfo) -> Student:
        kind = info.data.get("kind", "fields")
        if student.recipe == "generate" and kind != "fields":
            raise ValueError(
                f'student.recipe: "generate" writes the fields of a text: expected kind "fields", found kind "{kind}"'
            )
        if "epochs" in student.model_fields_set or kind not in EPOCHS:
            return student
        return student.model_copy(update={"epochs": EPOCHS[kind]})

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @property
    def guidelines_for_people(self) -> str:
        """The text people read: the common guidelines, and what only people are told (a policy, say)."""
        return "\n\n".join(part for part in (self.guidelines, self.people_guidelines) if part)

    def schema_hash(self) -> str:
        """Changes when the labels change, in which case votes and answers of the store do not fit any more."""
        parts = [*self.label_names]
        if self.kind != "single_label":
            parts += [self.kind, *(f"{f.name}/{f.type}/{f.many}/{'|'.join(f.choices)}" for f in self.fields)]
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def _field_problems(fields: tuple[FieldSpec, ...], kind: str) -> list[str]:
    names = [field.name for field in fields]
    problems = [f"fields: {name!r} is used twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if kind == "fields" and not fields:
        problems.append('fields: expected at least one [[fields]] table, because kind is "fields"')
    if kind != "fields" and fields:
        problems.append(f'fields: they belong to the kind "fields", found kind "{kind}"')
    return problems


def _label_problems(labels: tuple[Label, ...], kind: str = "single_label") -> list[str]:
    problems = []
    fewest = {"fields": 0, "single_label": 2}.get(kind, 1)
    if len(labels) < fewest:
        problems.append(f"labels: expected at least {fewest}, found {len(labels)}")
    if kind == "fields" and labels:
        problems.append('labels: a task of the kind "fields" has [[fields]] instead')
    seen: dict[str, str] = {}
    for label in labels:
        for spelling in (label.name, *label.aliases):
            key = spelling.casefold().strip()
            if key in seen and seen[key] == label.name:
                problems.append(f"labels: {spelling!r} stands twice in {label.name!r}")
            elif key in seen:
                problems.append(f"labels: {spelling!r} names both {seen[key]!r} and {label.name!r}")
            seen[key] = label.name
    return problems


def load_task(path: Path) -> Task:
    """Read and validate task.toml; `guidelines` and `people_guidelines` may name a .md or .txt file beside it.

    Raises InputError if the file cannot be read or is not TOML, TaskError with every mistake otherwise.
    """
    try:
        raw = tomllib.loads(_text(path))
    except FileNotFoundError as error:
        raise InputError(
            f"no task at {path}", expected="a task.toml", found="nothing", fix="write one with: stillhouse init DATA"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read", expected="a task.toml", found=str(error), fix="check the path and its permissions"
        ) from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise InputError(
            f"{path} cannot be read", expected="TOML in UTF-8", found=str(error), fix="mend that line"
        ) from error
    missing = _inline_texts(raw, path.parent)
    try:
        task = Task.model_validate(raw)
    except ValidationError as error:
        raise TaskError([*missing, *_problems(error), *_masked_label_problems(raw, error)], where=str(path)) from error
    if missing:
        raise TaskError(missing, where=str(path))
    return task


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")  # Windows editors write a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"the byte 0x{content[error.start]:02x}, which is not UTF-8 (at line {line})") from error


def _inline_texts(raw: dict[str, object], folder: Path) -> list[str]:
    problems = []
    for key in ("guidelines", "people_guidelines"):
        value = raw.get(key)
        if isinstance(value, str) and "\n" not in value and value.endswith((".md", ".txt")):
            try:
                raw[key] = (folder / value).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{key}: expected a text file at {value!r}, found: {error}")
    return problems


def _problems(error: ValidationError) -> list[str]:
    problems: list[str] = []
    for part in error.errors():
        where = ".".join(str(step) for step in part["loc"])
        message = part["msg"].removeprefix("Value error, ")
        if part["type"] == "extra_forbidden":
            problems.append(f"{where}: unknown key{_guess(part['loc'])}")
        elif part["type"] == "value_error":
            problems += message.splitlines()
        else:
            found = "" if part["type"] == "missing" else f", found {part['input']!r}"
            problems.append(f"{where}: {message}{found}")
    return problems


def _masked_label_problems(raw: dict[str, object], error: ValidationError) -> list[str]:
    """Labels are compared with each other even where one of them has a mistake of its own."""
    labels = raw.get("labels")
    if not isinstance(labels, list) or not any(p["loc"][0] == "labels" and len(p["loc"]) > 1 for p in error.errors()):
        return []
    readable = [
        Label.model_construct(
            name=label["name"],
            aliases=tuple(a for a in label["aliases"] if isinstance(a, str))
            if isinstance(label.get("aliases"), list)
            else (),
        )
        for label in labels
        if isinstance(label, dict) and isinstance(label.get("name"), str)
    ]
    return [p for p in _label_problems(tuple(readable)) if "expected at least" not in p or len(labels) < 2]


def _guess(location: tuple[int | str, ...]) -> str:
    import difflib

    tables: dict[int | str, type[BaseModel]] = {
        "labels": Label,
        "fields": FieldSpec,
        "data": Data,
        "teachers": Teacher,
        "budget": Budget,
        "student": Student,
        "selection": Selection,
        "desk": Desk,
        "stop": Stop,
    }
    table = Task if len(location) == 1 else tables[location[0]]
    close = difflib.get_close_matches(str(location[-1]), sorted(table.model_fields), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
