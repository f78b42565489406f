"""What the commands do, without flags or printing."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argilla_setup.embedded import down
from loop.asked import Asked
from loop.desks import connection_of, say_nothing, start_argilla
from loop.elsewhere import elsewhere
from loop.engines import Where
from loop.learn import base_of
from loop.library import library_of
from loop.people import people_in
from loop.progress import Display
from loop.project import TASK_PATH, Project, check_labels, open_project, project_of, read_gold, read_pool, same_task
from loop.run import Loop, Outcome, last_round_of, open_loop, run_rounds
from loop.summary import (
    add_seconds,
    banners,
    headline,
    next_step,
    summary_of,
    write_json,
    write_run_report,
)
from loop.teach import ask_teachers
from loop.weighed import Weighed
from stillhouse.errors import InputError
from stillhouse.store import Store


@dataclass(frozen=True, slots=True)
class RunResult:
    """What `run` ends with."""

    summary: dict[str, Any]
    text: str
    waiting: int


def run_task(
    task_path: Path,
    folder: Path | None,
    *,
    most: int | None,
    wait: bool,
    keep_argilla: bool,
    quiet: bool,
    where: Where | None = None,
    partial: bool = False,
) -> RunResult:
    """Run rounds, then write summary.json and report.html. Raises StillhouseError; a repeat goes on.

    `partial` goes on with what people have answered by now. `where` teaches students, and asks teachers under vLLM, on
    other machines.
    """
    project = open_project(task_path, folder)
    display = Display(quiet=quiet)
    started = time.monotonic()
    for banner in banners(project):
        display.line(banner)
    outcome: Outcome | None = None
    loop: Loop | None = None
    with elsewhere(where, project, display) as away, Store(project.folder) as store:
        store.write_note(TASK_PATH, str(project.task_path))
        try:
            loop = open_loop(project, store, display, lambda line: display.line(f"  argilla: {line}"), away)
            outcome = run_rounds(loop, most=most, wait=wait, partial=partial)
        finally:
            add_seconds(store, started)
            stays = keep_argilla or (loop is not None and loop.waiting > 0)  # also where waiting was interrupted
            if project.task.desk.kind == "embedded" and not stays:
                down(project.argilla_home)
        people = people_in(project, loop.items, store, counts=_what_counts(loop, outcome))
        summary = summary_of(project, store, outcome, people)
        if loop.last is not None:
            write_run_report(loop, outcome, people)
        write_json(project.summary, summary)
        return RunResult(summary, _ending(loop, outcome, keep_argilla=keep_argilla), outcome.waiting)


def _what_counts(loop: Loop, outcome: Outcome) -> Weighed | None:
    """What the answers amount to, as the last round saw them; None where there may be more since."""
    return loop.last[0].people if loop.last is not None and outcome.stopped else None


def teach_task(task_path: Path, folder: Path | None, *, quiet: bool, where: Where | None = None) -> dict[str, Any]:
    """Ask every teacher that shows no examples about all items, as `run` would before its first round, and stop there.

    Raises StillhouseError; a repeat goes on.
    """
    project, display = open_project(task_path, folder), Display(quiet=quiet)
    with elsewhere(where, project, display) as away, Store(project.folder) as store:
        store.write_note(TASK_PATH, str(project.task_path))
        check_labels(project, store)
        items = read_pool(project)
        gold = read_gold(project, items)
        same_task(project, store)
        store.add_items(items)
        library = library_of(project, base_of(project), display, items, store.picks(), store.answers())
        ask_teachers(project, store, [*items, *(gold.items if gold else ())], display, library, away)
        votes: dict[str, int] = {}
        for vote in store.votes():
            votes[vote.source] = votes.get(vote.source, 0) + 1
        return {"items": len(items), "votes": votes, "spent_usd": round(store.spent_usd(), 4)}


def _ending(loop: Loop, outcome: Outcome, *, keep_argilla: bool) -> str:
    project = loop.project
    lines: list[str] = []
    if loop.last is not None:
        view, _, evaluation = loop.last
        lines += ["", *headline(loop, view, evaluation, outcome)]
    lines += [
        "",
        f"report:  {project.report}",
        f"summary: {project.summary}",
        f"next:    {next_step(project, outcome)}",
    ]
    if project.task.desk.kind == "embedded" and (keep_argilla or outcome.waiting):
        lines += ["", login_of(project)]
    return "\n".join(lines)


def login_of(project: Project) -> str:
    """Address and login of the desk; the password is shown because a person asked for the server to be up."""
    connection = connection_of(project, say_nothing)
    if project.task.desk.kind != "embedded":
        return f"Argilla: {connection.url}"
    return (
        f"Argilla: {connection.url}\n  user {connection.username}, password {connection.password}\n"
        f"  stop it with: stillhouse argilla down {project.folder}"
    )


def status_of(folder: Path) -> dict[str, Any]:
    """Read only: may be asked while a run works."""
    project = project_of(folder)
    with Store(folder, read_only=True) as store:
        rounds, picks, answers = store.rounds(), store.picks(), store.answers()
        answered = {answer.item_id for answer in answers}
        asked = Asked(tuple(picks), tuple(store.askings()), tuple(answers), project.task.desk.min_submitted)
        waiting = [] if asked.is_done(len(rounds), project.task.desk.enough) else asked.open_in(len(rounds))
        votes: dict[str, int] = {}
        for vote in store.votes():
            votes[vote.source] = votes.get(vote.source, 0) + 1
        last = rounds[-1] if rounds else None
        if last is not None and last.decision == "stop":
            waits_for = "nothing: the loop has stopped"
        elif waiting:
            waits_for = f"people: {len(waiting)} items at the desk"
        else:
            waits_for = f"the next round: stillhouse run {project.task_path}"
        return {
            "task": project.task.name,
            "items": len(store.items()),
            "votes": votes,
            "rounds": len(rounds),
            "picks": len(picks),
            "answered": len(answered),
            "spent_usd": round(store.spent_usd(), 4),
            "in_doubt_requests": store.in_doubt(),
            "in_doubt_usd": round(store.in_doubt_usd(), 4),
            "last_decision": last.decision if last else None,
            "reason": last.reason if last else None,
            "waits_for": waits_for,
            "seconds": store.note("seconds", 0.0),
        }


def report_of(folder: Path, *, quiet: bool) -> Path:
    """Write the report of a run's last round again."""
    project = project_of(folder)
    with Store(project.folder) as store:
        rounds = store.rounds()
        if not rounds:
            raise InputError(
                f"{folder} has no finished round", expected="at least one", found="none", fix="stillhouse run it first"
            )
        loop = open_loop(project, store, Display(quiet=quiet), say_nothing)
        outcome = run_rounds(loop, most=0)
        if loop.last is None:
            last_round_of(loop, len(rounds) - 1)
        people = people_in(project, loop.items, store, counts=_what_counts(loop, outcome))
        write_json(project.summary, summary_of(project, store, outcome, people))
        return write_run_report(loop, outcome, people)


def argilla_login(folder: Path, port: int) -> str:
    project = project_of(folder)
    if project.task.desk.kind == "embedded":
        start_argilla(project, say_nothing, port)
    return login_of(project)


def queue_link(folder: Path, annotator: str = "") -> str:
    from argilla_setup.argilla_desk import ArgillaDesk

    project = project_of(folder)
    connection = connection_of(project, say_nothing)
    return ArgillaDesk(connection.url, connection.api_key, project.task).link(annotator)
