"""How each part of the house is to go about its work: one frozen table of task.toml for each concern, all defaults here."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Frozen(BaseModel):
    """A part of task.toml: read only, and a key it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
DECISION_APIS: frozenset[Api] = frozenset({"openai_decisions", "systemone"})
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
    `vllm` has it write replies instead, inside this process and on its GPU: a table of arguments of vLLM's `LLM`, empty or not.
    `local_only` refuses every address but this machine's own, before anything is sent.
    `context_tokens` is how much of one text a request carries, about 6,000 tokens unless said: a longer text is asked in
    overlapping windows.

    `temperature` is sent with every request; without it 0, or 0.7 where several samples are wanted. `demonstrations` is how
    many examples a prompt shows, of what people have answered: such a teacher waits until there are enough answers, and each
    later round asks again about the `asked_again_share` of items it doubts most, with the examples of that round.
    `second_order_share` of items, those it doubts most, are asked once more with the labels in the other order, and count
    with the mean of both. `candidates` "auto" shows the likeliest labels alone where an API tells of fewer codes than there
    are labels; "never" shows all.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    model: str
    api: Api = "openai_chat"
    base_url: Annotated[str, Field(validate_default=True)] = ""
    api_key_env: Annotated[str, Field(validate_default=True)] = ""
    batch: bool = False
    recording: str | None = None
    local: str | None = None
    vllm: Mapping[str, bool | int | float | str] | None = None
    local_only: bool = False
    label_order: Literal["as_given", "reversed"] = "as_given"
    ask: Literal["auto", "logprobs", "samples", "verbalised"] = "auto"
    samples: PositiveInt = 2
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    demonstrations: Annotated[int, Field(ge=0, le=64)] = 0
    asked_again_share: Share = 0.1
    second_order_share: Share = 0.0
    candidates: Literal["auto", "never"] = "auto"
    context_tokens: PositiveInt | None = None
    max_in_flight: PositiveInt = 32
    timeout_s: PositiveFloat = 60.0
    max_tries: PositiveInt = 6

    @field_validator("base_url", "api_key_env")
    @classmethod
    def _of_its_maker(cls, value: str, info: ValidationInfo) -> str:
        """The key of one maker must not go to another because a default did not follow the API."""
        return value or _MAKERS[info.data.get("api", "openai_chat")][str(info.field_name)]

    @model_validator(mode="after")
    def _vllm_has_a_model(self) -> "Teacher":
        if self.vllm is not None and (self.local is None or self.api != "openai_chat" or self.batch):
            raise ValueError(
                f"teachers: {self.name!r}: expected local, and neither batch nor another api, because vllm runs that model here"
            )
        if self.vllm and self.vllm.get("trust_remote_code"):
            raise ValueError(
                f"teachers: {self.name!r}: expected no trust_remote_code: code that comes with a model is not run"
            )
        return self

    @property
    def by_likelihood(self) -> bool:
        """Whether labels are read off a model of this machine, which then writes nothing."""
        return self.local is not None and self.vllm is None

    @model_validator(mode="after")
    def _can_be_shown(self) -> "Teacher":
        where = f"teachers: {self.name!r}"
        if (self.demonstrations or self.temperature is not None) and (self.by_likelihood or self.api in DECISION_APIS):
            raise ValueError(
                f"{where}: expected neither demonstrations nor temperature, because neither local models that are read by "
                "likelihood nor decision endpoints take any"
            )
        if self.second_order_share and (self.by_likelihood or self.demonstrations):
            raise ValueError(
                f"{where}: expected second_order_share = 0, because "
                + (
                    "examples are what this teacher is asked again with"
                    if self.demonstrations
                    else "a local model is asked once"
                )
            )
        return self


class Rule(Frozen):
    r"""A rule of the team's own: where it fires it votes, elsewhere it abstains. What it is worth is estimated.

    One of these says where. `keywords`: phrases, found as whole words. `keywords_file`: the same from a file, one a line (a
    gazetteer). `regex`: where it matches, or only its first group if it has one. Of kinds that mark a text what is found
    is marked. `match_case` is for these three. `python`: MODULE:FUNCTION beside task.toml, which is given an Item and
    returns a value of the task's kind, or None. `column`: a column of `data.metadata` that holds a label, or nothing.

    `label` is what the rule says: a label, a tag, or the name of a field (whose value is what is found, or what the
    column holds); `labels` are several, of a single label one of them, of many labels all of them. `against`: none of them.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    label: str = ""
    labels: tuple[str, ...] = ()
    against: bool = False
    keywords: tuple[str, ...] = ()
    keywords_file: str | None = None
    regex: str | None = None
    python: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    column: str | None = None
    match_case: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, tags or the field that it is about; none where function or column say which."""
        return (self.label,) if self.label else self.labels

    @property
    def searches(self) -> bool:
        """Whether it looks for something in the text."""
        return self.python is None and self.column is None

    @field_validator("regex")
    @classmethod
    def _regex_compiles(cls, regex: str | None) -> str | None:
        if regex is None:
            return None
        try:
            empty = re.compile(regex).match("")
        except re.error as error:
            raise ValueError(f"rules: expected a regular expression, found {regex!r}: {error}") from error
        if empty is not None:
            raise ValueError(f"rules: {regex!r} matches nothing at all: expected at least one character")
        return regex

    @model_validator(mode="after")
    def _one_way(self) -> "Rule":
        ways = {"keywords": self.keywords, "keywords_file": self.keywords_file, "regex": self.regex}
        ways |= {"python": self.python, "column": self.column}
        found = [name for name, value in ways.items() if value]
        if len(found) != 1:
            raise ValueError(
                f"rules: {self.name!r}: expected one of {', '.join(ways)}, found {' and '.join(found) or 'none'}"
            )
        if any(not keyword.strip() for keyword in self.keywords):
            raise ValueError(f"rules: {self.name!r}: expected words in every keyword, found an empty one")
        if self.label and self.labels:
            raise ValueError(f"rules: {self.name!r}: expected label or labels, found both")
        if self.match_case and not self.searches:
            raise ValueError(f"rules: {self.name!r}: match_case is for keywords and regex, found {found[0]}")
        return self


class PrivacyPattern(Frozen):
    r"""What else is an id: where `regex` matches, or only its first group if it has one ("INC(\d+)")."""

    name: Annotated[str, Field(min_length=1)]
    regex: str

    @field_validator("regex")
    @classmethod
    def _compiles(cls, regex: str) -> str:
        try:
            empty = re.compile(regex).match("")
        except re.error as error:
            raise ValueError(f"privacy.patterns: expected a regular expression, found {regex!r}: {error}") from error
        if empty is not None:
            raise ValueError(f"privacy.patterns: {regex!r} matches nothing at all: expected at least one character")
        return regex


class Privacy(Frozen):
    """What is replaced by surrogates before a text leaves this machine for a teacher; the table itself switches it on.

    `names` need a detector: `name_student`, the folder of a student of the kind "spans" (`name_labels` are its labels that
    name people; a word counts where they have `name_threshold` of the probability together), or `spacy_model`, a spaCy model
    by name or path; or names that are known: `name_columns` of the metadata, and `names_file`, one name a line.
    `regions` are the countries whose phone numbers are found without a country code. `patterns` add ids of your own, and
    `keep` lists words that always stay. Pictures cannot be checked, and are refused unless `allow_images`.
    """

    names: bool = True
    mails: bool = True
    phones: bool = True
    ids: bool = True
    name_student: str | None = None
    name_labels: tuple[str, ...] = ("person", "PERSON", "PER")
    name_threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    spacy_model: str | None = None
    name_columns: tuple[str, ...] = ()
    names_file: str | None = None
    regions: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = ("US", "GB")
    patterns: tuple[PrivacyPattern, ...] = ()
    keep: tuple[str, ...] = ()
    allow_images: bool = False

    @model_validator(mode="after")
    def _names_are_found_by_something(self) -> "Privacy":
        if self.names and not (self.name_student or self.spacy_model or self.name_columns or self.names_file):
            raise ValueError(
                "privacy.names: expected name_student, spacy_model, name_columns or names_file, which find names, found "
                "none; or set names = false"
            )
        return self


class Budget(Frozen):
    """What may be spent in all. `teacher_usd` None means no cap on money; `human_labels` caps people's answers. `prices` is a
    file in the form of teacher/prices.toml, whose models are added to that table or replaced in it.
    """

    teacher_usd: Annotated[float, Field(ge=0)] | None = None
    prices: str | None = None
    human_labels: Annotated[int, Field(ge=0)] | None = None
    seconds_per_answer: PositiveFloat = 15.0
    usd_per_hour_of_people: Annotated[float, Field(ge=0)] = 30.0


class Student(Frozen):
    """The model to train: a base by path, Hub id or `package:NAME`, and how it is adapted.

    `recipe` "auto" chooses by held-out likelihood, once the loop stops, between a head on the frozen base ("head"), LoRA on
    the upper half of its layers ("top") and LoRA on all ("lora"); the rounds before use the head. A recipe by name is
    used in every round; "full" trains all weights, and "generate" (kind "fields") adapts a causal language model that
    writes the fields. `lora_targets` are regular expressions for the names of the linear layers that get an adapter, all
    of them without; `lora_variant` is peft's rank-stabilised or weight-decomposed form of it. The head learns
    `head_rate_factor` times as fast as the adapter, each layer `layer_decay` times as fast as the one above. `patience`
    ends training once so many epochs have not made held-out answers likelier (0: never). `ensemble` adapters are taught
    one after another and their probabilities averaged. `class_balance` 1 weighs rare labels up to the weight of
    frequent ones, 0 not at all. `answer_weight` is the weight of a person's answer beside 1 for a
    believed label; `target_sharpness` the power believed distributions are raised to. `epochs` is 1 for labels of whole
    texts, and EPOCHS of the kind where tokens are labelled, unless it is given. `max_error` is the share that may be wrong
    where the student answers: the threshold that promises it is certified with `stop.confidence`, on gold, or without
    gold on a first batch that is all random and teaches the student nothing.
    """

    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    recipe: Literal["auto", "head", "top", "lora", "full", "generate"] = "auto"
    lora_rank: PositiveInt = 8
    lora_alpha: PositiveInt = 16
    lora_dropout: Share = 0.0
    lora_targets: tuple[str, ...] = ()
    lora_variant: Literal["plain", "rslora", "dora"] = "plain"
    epochs: PositiveInt = 1
    learning_rate: PositiveFloat = 4e-3
    full_learning_rate: PositiveFloat = 2e-4
    head_rate_factor: PositiveFloat = 10.0
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    patience: Annotated[int, Field(ge=0)] = 0
    ensemble: PositiveInt = 1
    class_balance: Share = 0.0
    gradient_checkpointing: bool = False
    tokens_per_batch: PositiveInt = 2048
    max_tokens: PositiveInt = 256
    answer_weight: PositiveFloat = 1.0
    target_sharpness: PositiveFloat = 2.0
    folds: Annotated[int, Field(ge=2)] = 5
    max_error: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    threads: PositiveInt = 2


class Selection(Frozen):
    """How many items a round asks of people, and which share is drawn uniformly at random and asked blind.

    The first batch is an audit, all of it random, where the teacher's own variants agree at the target accuracy: then
    the question is whether it may be trusted as it is, and only random picks can answer that.

    `hidden_share` of the others, drawn by lot, is asked without a suggestion too: beside them the rest shows how far people
    take over what they are shown.
    """

    batch: PositiveInt = 95
    random_share: Share = 0.2
    hidden_share: Share = 0.0
    near_duplicate_cosine: Share = 0.98


class Desk(Frozen):
    """Where people answer: the embedded Argilla, a server by URL and key, or files; and how often one item is asked.

    Every item gets `min_submitted` answers. `annotators` names who the items of a batch are dealt to; without it they are
    whoever's comes first. The loop goes on once `enough` of a batch is answered, and all of its random share: the rest
    stays open, and counts when it comes.

    `second_opinions` is the share of a batch that may be asked again of somebody else, who does not see the first answer:
    where the belief before the answer gave it a probability below `second_below`, the least probable first. Of the random
    share all such answers are checked, over and above that. Where people differ, `adjudicators` decide between what they
    said. `verify_from` asks for yes or no where a suggestion is at least so probable, of targeted items alone. `context`
    shows why an item is asked, what the guidelines say of it and answered items like it; blind ones get guidelines alone.

    `rehearse` names a file of known labels: simulated experts answer from it, and every report calls them rehearsed.
    """

    kind: Literal["embedded", "argilla", "files"] = "embedded"
    url: str = ""
    api_key_env: str = "ARGILLA_API_KEY"
    workspace: str = "stillhouse"
    min_submitted: PositiveInt = 1
    annotators: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    enough: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    second_opinions: Share = 0.0
    second_below: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.02
    adjudicators: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    verify_from: Annotated[float, Field(gt=0.5, le=1.0)] | None = None
    context: bool = True
    rehearse: str | None = None
    rehearse_label: str = "label"
    rehearse_error_rate: Share = 0.0
    rehearse_annotators: PositiveInt = 2

    @model_validator(mode="after")
    def _reachable(self) -> "Desk":
        if self.kind == "argilla" and not self.url:
            raise ValueError('desk.url: expected the address of the Argilla server, because desk.kind is "argilla"')
        return self

    @model_validator(mode="after")
    def _enough_people(self) -> "Desk":
        for name, people in (("annotators", self.annotators), ("adjudicators", self.adjudicators)):
            if len(set(people)) < len(people):
                raise ValueError(f"desk.{name}: expected each name once, found {', '.join(people)}")
        least = self.min_submitted + (self.second_opinions > 0)
        if self.annotators and len(self.annotators) < least:
            raise ValueError(
                f"desk.annotators: expected at least {least}, because so many are to answer one item, found "
                f"{', '.join(self.annotators)}"
            )
        if self.second_opinions and self.min_submitted > 1:
            raise ValueError(
                f"desk.second_opinions: expected min_submitted = 1, because {self.min_submitted} people answer every item already"
            )
        if self.second_opinions and not self.adjudicators:
            raise ValueError(
                "desk.second_opinions: expected desk.adjudicators, because somebody has to decide where two opinions differ"
            )
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
