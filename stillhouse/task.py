"""What is to be labelled and how the loop should go about it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from stillhouse.settings import Budget, Data, Desk, Frozen, Privacy, Rule, Selection, Stop, Student, Teacher


class Label(Frozen):
    """One class: its name, a sentence for teacher and people, other spellings a teacher may use."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    aliases: tuple[str, ...] = ()


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
LABEL_KINDS: frozenset[KindName] = frozenset({"single_label", "multi_label"})  # whose values are names of labels alone
KINDS_FOR_RULES_ALONE: frozenset[KindName] = frozenset({"single_label", "tokens"})  # where to abstain is to say nothing
RULES_SOURCE = "rules"  # what all rules together are called beside the teachers
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
    that of the kind (QUESTIONS) unless the team writes its own. `rules` vote beside the teachers; for one label, or tags of
    tokens, also without any.
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
    rules: tuple[Rule, ...] = ()
    teachers: Annotated[tuple[Teacher, ...], Field(validate_default=True)] = ()
    budget: Budget = Budget()
    student: Student = Student()
    selection: Selection = Selection()
    desk: Desk = Desk()
    stop: Stop = Stop()
    privacy: Privacy | None = None
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
        if problems := label_problems(labels, kind) + _field_problems(info.data.get("fields", ()), kind):
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

    @field_validator("rules")
    @classmethod
    def _rules_of_kind(cls, rules: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        kind = info.data.get("kind", "single_label")
        parts = info.data.get("fields" if kind == "fields" else "labels")
        data = info.data.get("data")
        known = None if parts is None else {part.name for part in parts}
        problems = _repeated("rules", [rule.name for rule in rules])
        for rule in rules:
            found = _rule_problems(rule, kind, known, None if data is None else data.metadata)
            problems += [f"rules: {rule.name!r}: {problem}" for problem in found]
        if problems:
            raise ValueError("\n".join(problems))
        return rules

    @field_validator("teachers")
    @classmethod
    def _distinct_teachers(cls, teachers: tuple[Teacher, ...], info: ValidationInfo) -> tuple[Teacher, ...]:
        problems = [] if teachers else _without_teachers(info.data.get("rules"), info.data.get("kind", "single_label"))
        names = [teacher.name for teacher in teachers]
        if RULES_SOURCE in names and info.data.get("rules"):
            problems.append(f"teachers: {RULES_SOURCE!r} is what the rules are called: expected another name")
        problems += _repeated("teachers", names)
        if teachers and all(teacher.demonstrations for teacher in teachers):
            problems.append(
                "teachers: expected one with demonstrations = 0: before people answer there is nothing to show"
            )
        kind = info.data.get("kind", "single_label")
        problems += [
            f'teachers: {teacher.name!r}: second_order_share is for labels of a text, found kind "{kind}"'
            for teacher in teachers
            if teacher.second_order_share and kind not in LABEL_KINDS
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

    @field_validator("privacy")
    @classmethod
    def _columns_of_names(cls, privacy: Privacy | None, info: ValidationInfo) -> Privacy | None:
        known = info.data["data"].metadata if "data" in info.data else ()
        unknown = [
            name for name in (privacy.name_columns if privacy else ()) if "data" in info.data and name not in known
        ]
        if unknown:
            raise ValueError(f"privacy.name_columns: {unknown[0]!r} is not among data.metadata; add it there")
        return privacy

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @property
    def guidelines_for_people(self) -> str:
        """The text people read: the common guidelines, and what only people are told (a policy, say)."""
        return "\n\n".join(part for part in (self.guidelines, self.people_guidelines) if part)

    def guidelines_id(self) -> str:
        """Names this version of the words that teacher and people go by: question, guidelines, what labels mean."""
        meant = [(label.name, label.description) for label in self.labels]
        told = json.dumps([self.question, self.guidelines, self.people_guidelines, meant], ensure_ascii=False)
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def schema_hash(self) -> str:
        """Changes when the labels change, in which case votes and answers of the store do not fit any more."""
        parts = [*self.label_names]
        if self.kind != "single_label":
            parts += [self.kind, *(f"{f.name}/{f.type}/{f.many}/{'|'.join(f.choices)}" for f in self.fields)]
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def _repeated(table: str, names: list[str]) -> list[str]:
    return [f"{table}: the name {n!r} is used twice" for n in sorted({n for n in names if names.count(n) > 1})]


def _without_teachers(rules: tuple[Rule, ...] | None, kind: str) -> list[str]:
    """What is wrong with a task that has no teachers; nothing where its rules (None: they have mistakes) will do."""
    if rules == ():
        return ["teachers: expected at least one [[teachers]] table, found none"]
    if kind in KINDS_FOR_RULES_ALONE:
        return []
    alone = '" or "'.join(sorted(KINDS_FOR_RULES_ALONE))
    return [
        f'teachers: expected at least one [[teachers]] table: rules alone do for the kind "{alone}", found kind "{kind}"'
    ]


def _rule_problems(rule: Rule, kind: str, known: set[str] | None, columns: tuple[str, ...] | None) -> list[str]:
    """What is wrong with one rule; `known` are labels or fields, `columns` the metadata, None where they have mistakes."""
    part = "field" if kind == "fields" else "label"
    needed = rule.searches or (kind == "fields" and rule.column is not None)
    problems = []
    if needed and not rule.names:
        problems.append(f"expected {part}, found none")
    if rule.names and not needed:
        says = "the function" if rule.python else f"the column {rule.column!r}"
        problems.append(f"expected no label, because {says} says which, found {', '.join(rule.names)}")
    problems += [
        f"{name!r} is not a {part} of the task" for name in rule.names if known is not None and name not in known
    ]
    if kind not in LABEL_KINDS and (rule.against or rule.labels):
        problems.append(f'against and labels are for labels of a text, found kind "{kind}"')
    if rule.column is not None and kind not in LABEL_KINDS | {"fields"}:
        problems.append(f'a column holds what is said of the whole text, found kind "{kind}"')
    if rule.column is not None and columns is not None and rule.column not in columns:
        problems.append(f"the column {rule.column!r} is not among data.metadata; add it there")
    return problems


def _field_problems(fields: tuple[FieldSpec, ...], kind: str) -> list[str]:
    names = [field.name for field in fields]
    problems = [f"fields: {name!r} is used twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if kind == "fields" and not fields:
        problems.append('fields: expected at least one [[fields]] table, because kind is "fields"')
    if kind != "fields" and fields:
        problems.append(f'fields: they belong to the kind "fields", found kind "{kind}"')
    return problems


def label_problems(labels: tuple[Label, ...], kind: str = "single_label") -> list[str]:
    """What is wrong with the labels as a whole, a sentence each."""
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
