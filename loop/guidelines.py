"""The versions of the guidelines that a run has gone by: noted as they change, and what votes and answers stand under each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from loop.project import Project
from stillhouse.amendment_measures import Judged, Tried, judge
from stillhouse.guidelines import Version, words_of
from stillhouse.store import Store

FOUND = "found in task.toml"
NOT_KNOWN = "not known"  # votes and answers of before versions were kept


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def in_force(versions: Sequence[Version]) -> Version | None:
    """The version that came into force last."""
    return max((one for one in versions if one.since), key=lambda one: one.since, default=None)


def noted(project: Project, store: Store, how: str = FOUND) -> Version:
    """The version that task.toml has now, kept in the store if it is another one than the last."""
    versions = store.versions()
    wanted, last = project.task.guidelines_id(), in_force(versions)
    if last is not None and last.id == wanted:
        return last
    known = next((one for one in versions if one.id == wanted), None)
    parent = last.id if last is not None else ""
    fresh = known or Version(wanted, parent, "", "", words_of(project.task))
    version = replace(fresh, parent=parent, since=now(), how=how)
    store.keep_version(version)
    return version


def tried_of(version: Version) -> list[Tried]:
    return [Tried(**each) for each in version.evidence["items"]]


def judged_now(project: Project, versions: Sequence[Version], version: str) -> Judged | None:
    """What the test of a version shows, corrected for all that have been tested on any of its items by now; None without one."""
    tested = {one.id: tried_of(one) for one in versions if one.evidence}
    if version not in tested:
        return None
    mine = {one.item_id for one in tested[version]}
    drafts = sum(not mine.isdisjoint(one.item_id for one in others) for others in tested.values())
    return judge(tested[version], confidence=project.task.stop.confidence, drafts=drafts)


@dataclass(frozen=True, slots=True)
class Standing:
    """How many votes (of the task's teachers) and answers were made under each version, by its id; "" is not known."""

    votes: Mapping[str, int]
    answers: Mapping[str, int]

    @property
    def versions(self) -> frozenset[str]:
        return frozenset({*self.votes, *self.answers})


def standing(project: Project, store: Store) -> Standing:
    names = {teacher.name for teacher in project.task.teachers}
    votes = Counter(vote.guidelines for vote in store.votes() if vote.source in names)
    return Standing(votes, Counter(answer.guidelines for answer in store.answers()))


def guidelines_facts(project: Project, store: Store) -> list[tuple[str, str]]:
    """For the report: nothing where all was said under the present version."""
    present, stand = project.task.guidelines_id(), standing(project, store)
    if stand.versions <= {present}:
        return []
    order = [present, *sorted(stand.versions - {present})]
    said = [
        f"{version or NOT_KNOWN}{' (in force)' if version == present else ''}: {_counted(stand, version)}"
        for version in order
    ]
    return [("Guidelines that votes and answers were given under", "; ".join(said))]


@dataclass(frozen=True, slots=True)
class History:
    """All versions in the order in which they were first seen, and what the tests of some show; `present` is the id that
    task.toml has now.
    """

    task: str
    present: str
    versions: tuple[Version, ...]
    judged: Mapping[str, Judged]
    stand: Standing

    def to_json(self) -> dict[str, Any]:
        rows = [
            {
                "id": one.id,
                "parent": one.parent or None,
                "since": one.since or None,
                "how": one.how,
                "in_force": one.id == self.present,
                "votes": self.stand.votes.get(one.id, 0),
                "answers": self.stand.answers.get(one.id, 0),
                "tested": self.judged[one.id].to_json() if one.id in self.judged else None,
                "words": dict(one.words),
            }
            for one in self.versions
        ]
        unknown = {"votes": self.stand.votes.get("", 0), "answers": self.stand.answers.get("", 0)}
        return {"task": self.task, "present": self.present, "versions": rows, "not_known": unknown}

    def text(self) -> str:
        count = len(self.versions)
        lines = [f"{self.task}: {count} {'version' if count == 1 else 'versions'} of the guidelines"]
        for one in self.versions:
            state = f"since {one.since[:19].replace('T', ' ')}" if one.since else "only tested"
            marks = ", ".join(filter(None, [state, one.how, f"after {one.parent}" if one.parent else ""]))
            lines.append(f"  {one.id}{' *' if one.id == self.present else '  '} {marks}")
            lines.append(f"      {_counted(self.stand, one.id)}")
            if one.id in self.judged:
                lines.append(f"      tested: {self.judged[one.id].verdict}: {self.judged[one.id].because}")
        if "" in self.stand.versions:
            lines.append(f"  {NOT_KNOWN}: {_counted(self.stand, '')}, from before versions were kept")
        lines.append("* in force")
        return "\n".join(lines)


def history(project: Project, store: Store) -> History:
    """Writes nothing, so the version of task.toml is shown even where no command has noted it yet."""
    present, versions = project.task.guidelines_id(), store.versions()
    if all(one.id != present or not one.since for one in versions):
        seen = next((one for one in versions if one.id == present), None)
        now_there = seen or Version(present, "", "", "in task.toml, not used yet", words_of(project.task))
        versions = [one for one in versions if one.id != present] + [now_there]
    found = {one.id: judged_now(project, versions, one.id) for one in versions}
    judged = {name: each for name, each in found.items() if each is not None}
    return History(project.task.name, present, tuple(versions), judged, standing(project, store))


def _counted(stand: Standing, version: str) -> str:
    votes, answers = stand.votes.get(version, 0), stand.answers.get(version, 0)
    return f"{votes:,} {'vote' if votes == 1 else 'votes'}, {answers:,} {'answer' if answers == 1 else 'answers'}"
