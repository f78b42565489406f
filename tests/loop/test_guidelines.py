"""`stillhouse guidelines`: from conflicts to a draft, a test on held-out answers, adoption, and votes that say their version."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from loop.project import TASK_PATH, open_project
from prompts.delimit import enclosed
from stillhouse.guidelines import half_of
from stillhouse.store import Store
from teacher.recorded import serving
from tests.loop.world import HELPDESK, World, rows_of, write_world
from tests.teacher.fakes import PromptServer

ITEMS, ANSWERS = 120, 100
RULE, HARMFUL = "A laptop or a phone is the devices team's", "All messages are for soc"
TEAM_OF = {row["text"].strip(): row["id"] for row in rows_of(HELPDESK / "pool.jsonl", ITEMS)}
TRUTH = {row["id"]: row["team"] for row in rows_of(HELPDESK / "experts.jsonl", ITEMS)}


def scripted(body: dict[str, Any]) -> str:
    """A scripted teacher, not a model: it knows every label but takes `devices` for `apps`, unless the guidelines have RULE;
    and it does as HARMFUL says. Asked to draft, it writes RULE.
    """
    system, asked = body["messages"][0]["content"], body["messages"][-1]["content"]
    if "Write one amendment" in system:
        return json.dumps({"amendment": f"{RULE}."})
    label = TRUTH[TEAM_OF[(enclosed(asked) or "").strip()]]
    label = "apps" if label == "devices" and RULE not in system else label
    label = "soc" if HARMFUL in system else label
    return json.dumps({"label": label, "confidence": 0.9, "second": None})


class Run:
    """A run with answers of rehearsed experts, and its scripted teacher."""

    def __init__(self, world: World, server: PromptServer) -> None:
        self.world, self.server = world, server

    def guidelines(self, what: str, *arguments: object) -> Result:
        return self.world.stillhouse("guidelines", what, self.world.run, *arguments)

    def said(self, what: str, *arguments: object) -> Any:
        result = self.guidelines(what, *arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    @property
    def version(self) -> str:
        return open_project(self.world.task, self.world.run).task.guidelines_id()

    def draft(self, text: str) -> int:
        """A draft that a person wrote."""
        drafted = self.said("draft", "--write-yourself", "--quiet")
        Path(drafted["file"]).write_text(text, encoding="utf-8")
        return int(drafted["draft"])

    def votes(self) -> dict[str, str]:
        """The version of each item's vote."""
        with self.world.store() as store:
            return {vote.item_id: vote.guidelines for vote in store.votes()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Rounds of a real loop; one of its labels is not understood by the teacher."""
    server = PromptServer(scripted)
    with serving(server.app()) as url:
        world = write_world(
            tmp_path_factory.mktemp("guidelines"),
            gold=False,
            items=ITEMS,
            teacher={"model": "gpt-4.1-mini", "base_url": url, "ask": "verbalised"},
            budget={"human_labels": ANSWERS, "teacher_usd": 5.0},
            selection={"batch": ANSWERS, "random_share": 0.4, "near_duplicate_cosine": 1.0},
        )
        told = world.task.read_text(encoding="utf-8")
        world.task.write_text(f'# ours\nguidelines = "Choose a team."  # short\n{told}', encoding="utf-8")
        assert world.go().exit_code == 0
        yield Run(world, server)


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy of it, to be changed."""
    home = tmp_path / "world"
    shutil.copytree(finished.world.home, home)
    world = World(home)
    with Store(world.run) as store:
        store.write_note(TASK_PATH, str(world.task))
    return Run(world, finished.server)


def test_from_a_conflict_to_votes_under_better_guidelines(run: Run) -> None:
    """The cluster is found, drafted for, its draft shown to help, adopted, and only what it may change asked again."""
    before, old = run.votes(), run.version
    assert set(before.values()) == {old}
    first = run.said("conflicts", "--quiet")["clusters"][0]
    assert (first["said"], first["right"], first["between"]) == ("apps", "devices", "teacher")
    assert first["in_pool"]["lo"] <= sum(team == "devices" for team in TRUTH.values()) <= first["in_pool"]["hi"]
    assert all(half_of(one["id"]) == "drafting" for one in first["examples"])

    drafted = run.said("draft", "--cluster", 1, "--quiet")
    assert drafted["text"] == f"Choose a team.\n\n{RULE}."
    assert f"+{RULE}." in drafted["difference"]
    tested = run.said("test", 1, "--quiet")
    assert tested["verdict"] == "helps"
    assert tested["rows"][0]["difference"]["lo"] > 0
    assert (tested["rehearsed_experts"], tested["version"] != old) == (True, True)
    assert run.votes() == before

    shown = run.guidelines("adopt", 1, "--quiet")
    assert "Nothing was written" in shown.stdout
    assert run.version == old
    adopted = run.said("adopt", 1, "--write", "--quiet")
    assert run.version == adopted["version"] == tested["version"]
    assert '"""  # short\n' in run.world.task.read_text(encoding="utf-8")
    after = run.votes()
    asked = {item_id for item_id, version in after.items() if version == run.version}
    with run.world.store() as store:
        right = {vote.item_id for vote in store.votes() if vote.probs[2] > 0.5}
    assert right == {item_id for item_id, team in TRUTH.items() if team == "devices"}
    assert right <= asked
    assert adopted["asked_anew"] == {"team-A": len(asked)}
    assert adopted["votes_under_others"] == {"team-A": ITEMS - len(asked)}

    rows = run.said("history")["versions"]
    assert [(row["in_force"], row["votes"]) for row in rows] == [(False, ITEMS - len(asked)), (True, len(asked))]
    assert (rows[1]["parent"], rows[1]["how"]) == (old, "adopted from draft 1")
    assert [row["tested"] and row["tested"]["verdict"] for row in rows] == [None, "helps"]
    assert "tested: helps" in run.guidelines("history").stdout
    assert run.world.stillhouse("report", run.world.run).exit_code == 0
    page = (run.world.run / "report.html").read_text(encoding="utf-8")
    assert f"{run.version} (in force): {len(asked)} votes" in page


def test_a_draft_that_harms_is_refused(run: Run) -> None:
    """Its verdict says so, and only --anyway would adopt it; task.toml stays as it is."""
    content = run.world.task.read_bytes()
    number = run.draft(HARMFUL)
    tested = run.said("test", number, "--quiet")
    assert tested["verdict"] == "harms"
    assert tested["rows"][0]["difference"]["hi"] < 0
    result = run.guidelines("adopt", number, "--write", "--quiet")
    assert result.exit_code == 2
    assert "harms" in result.stderr
    assert run.world.task.read_bytes() == content


def test_a_test_is_paid_for_once(run: Run) -> None:
    """Repeated, it finds all replies; the votes of the run are where they were, and adopting pays for the rest alone."""
    number = run.draft(f"Choose a team. {RULE}.")
    first = run.said("test", number, "--quiet")
    sent = len(run.server.bodies)
    again = run.said("test", number, "--quiet")
    assert (again["rows"], again["cost_usd"]) == (first["rows"], 0)
    assert len(run.server.bodies) == sent
    adopted = run.said("adopt", number, "--write", "--reask", "all", "--quiet")
    assert adopted["asked_anew"] == {"team-A": ITEMS}
    assert len(run.server.bodies) == sent + ITEMS - first["rows"][0]["difference"]["n"]
    assert set(run.votes().values()) == {run.version}
    reparsed = json.loads(run.world.stillhouse("reparse", run.world.run, "--json").stdout)
    assert reparsed["changed"] == 0


def test_more_drafts_on_the_same_answers_widen_the_interval(run: Run) -> None:
    """Bonferroni: the second draft is judged for two, and so is the first when it is looked at again."""
    first = run.draft(f"Choose a team. {RULE}.")
    alone = run.said("test", first, "--quiet")
    second = run.said("test", run.draft(f"{RULE}. Choose a team."), "--quiet")
    assert "corrected for 2 drafts" in second["because"]
    again = run.said("test", first, "--quiet")
    assert (alone["drafts"], second["drafts"], again["drafts"]) == (1, 2, 2)
    widths = [found["rows"][0]["difference"]["hi"] - found["rows"][0]["difference"]["lo"] for found in (alone, again)]
    assert widths[0] < widths[1]


def test_what_is_tested_was_not_shown_to_who_drafts(run: Run) -> None:
    """The drafting half alone, without what was drawn at random; and the test asks about the other half alone."""
    run.said("draft", "--quiet")
    texts = {item_id: text for text, item_id in TEAM_OF.items()}
    prompt = run.server.bodies[-1]["messages"][-1]["content"]
    shown = {item_id for item_id, text in texts.items() if text in prompt}
    with run.world.store() as store:
        drawn = {pick.item_id for pick in store.picks() if pick.inclusion_probability is not None}
    assert shown
    assert {half_of(item_id) for item_id in shown} == {"drafting"}
    assert not shown & drawn
    sent = len(run.server.bodies)
    run.said("test", 1, "--quiet")
    asked = {TEAM_OF[(enclosed(body["messages"][-1]["content"]) or "").strip()] for body in run.server.bodies[sent:]}
    assert {half_of(item_id) for item_id in asked} == {"test"}


def test_what_cannot_be_shown_is_not_claimed(run: Run) -> None:
    """A draft that says the same in other words is not shown to help; with too few answers nobody is asked."""
    number = run.draft("Choose a team, please.")
    tested = run.said("test", number, "--quiet")
    assert tested["verdict"] == "not shown"
    refused = run.guidelines("adopt", number, "--write", "--quiet")
    assert (refused.exit_code, "not shown" in refused.stderr) == (2, True)
    sent = len(run.server.bodies)
    few = run.guidelines("test", run.draft(RULE), "--items", 12, "--quiet")
    assert (few.exit_code, len(run.server.bodies)) == (2, sent)
    assert "nothing was sent" in few.stderr


def test_adopted_against_the_test_is_told_for_good(run: Run) -> None:
    """--anyway is the user's right; the history says so. Votes stay under the version they were given under, also when their
    replies are read again and the same items have been asked by the new one.
    """
    number, old = run.draft(HARMFUL), run.version
    with run.world.store() as store:
        votes = store.votes()
    run.said("test", number, "--quiet")
    run.said("adopt", number, "--write", "--anyway", "--reask", "none", "--quiet")
    assert run.said("history")["versions"][-1]["how"] == f"adopted from draft {number} all the same (harms)"
    assert run.version != old
    reparsed = json.loads(run.world.stillhouse("reparse", run.world.run, "--json").stdout)
    assert (reparsed["votes"], reparsed["changed"]) == (ITEMS, 0)
    assert 0 < reparsed["read"] < ITEMS
    with run.world.store() as store:
        assert store.votes() == votes


def test_a_test_that_cannot_be_paid_is_not_begun(run: Run) -> None:
    """Even the least it may cost is more than is left: exit code 4, nothing sent."""
    number = run.draft(RULE)
    told = run.world.task.read_text(encoding="utf-8").replace("teacher_usd = 5.0", "teacher_usd = 0.0001")
    run.world.task.write_text(told, encoding="utf-8")
    sent = len(run.server.bodies)
    result = run.guidelines("test", number, "--quiet")
    assert (result.exit_code, len(run.server.bodies)) == (4, sent)


def test_guidelines_edited_by_hand_are_a_version_too(run: Run) -> None:
    """The next command that asks notes them; a draft from before is not put over them."""
    number = run.draft(RULE)
    told = run.world.task.read_text(encoding="utf-8").replace('"Choose a team."', '"Choose one."')
    run.world.task.write_text(told, encoding="utf-8")
    assert run.world.stillhouse("teach", run.world.task, "--run", run.world.run, "--quiet").exit_code == 0
    rows = run.said("history")["versions"]
    assert [row["how"] for row in rows] == ["found in task.toml"] * 2
    assert rows[1]["parent"] == rows[0]["id"]
    result = run.guidelines("test", number, "--quiet")
    assert (result.exit_code, "drafted from other guidelines" in result.stderr) == (2, True)


def test_a_recording_neither_drafts_nor_is_tested(run: Run) -> None:
    """It says the same whatever the guidelines are: exit code 2, and what to do."""
    told = run.world.task.read_text(encoding="utf-8")
    recorded = re.sub(r"model = .*\nbase_url = .*", 'model = "team/A"\nrecording = "replies.jsonl"', told)
    run.world.task.write_text(recorded, encoding="utf-8")
    drafted = run.guidelines("draft", "--quiet")
    assert (drafted.exit_code, "--write-yourself" in drafted.stderr) == (2, True)
    tested = run.guidelines("test", run.draft(RULE), "--quiet")
    assert (tested.exit_code, "team-A (a recording)" in tested.stderr) == (2, True)
