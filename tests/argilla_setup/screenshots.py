"""The pictures of the desk in docs/images: a run of the helpdesk's own messages as far as a second opinion and a decision.

`python -m tests.argilla_setup.screenshots` makes them again, in some minutes. People are simulated: they say what the
example's known labels say, but for one answer, which is overruled.
"""

import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from typer.testing import CliRunner

from argilla_setup.annotators import FILE
from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_dataset import RIGHT, YES
from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.embedded import down
from kinds.single_label import QUESTION
from loop.cli import app
from loop.desks import connection_of, say_nothing
from loop.project import Project, project_of
from stillhouse.records import Way
from tests.argilla_setup.browsing import Reader, chromium, started
from tests.argilla_setup.people import Person

ROOT = Path(__file__).parents[2]
HELPDESK, IMAGES = ROOT / "examples" / "helpdesk", ROOT / "docs" / "images"
POOL, COLOURS, MOST_BYTES = 400, 96, 150_000
SETTINGS = """
recipe = "head"

[selection]
batch = 40

[desk]
annotators = ["ana", "ben"]
adjudicators = ["chris"]
second_opinions = 0.2
second_below = 0.4
verify_from = 0.9
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        task, run = write_task(home), home / "run"
        known = {row["id"]: row["team"] for row in rows_of(HELPDESK / "experts.jsonl")}
        try:
            take(task, run, known)
        finally:
            down(run / "argilla")


def take(task: Path, run: Path, known: dict[str, str]) -> None:
    """A round is verified, labelled, doubted and decided; the next one stands as people find it."""
    desk = goes_on(task, run)
    with sync_playwright() as playwright, started(playwright, str(chromium())) as browser:
        ana = Sitting(browser, desk, run, "ana")
        ana.photographs("desk-verify.png", "verify")
        answer(desk, "verify", lambda _: YES)
        answer(desk, "label", known.__getitem__)
        goes_on(task, run)
        overruled = min(record.item.id for record in desk.open() if record.way == "second")
        other = next(label for label in ("first_line", "apps") if label != known[overruled])
        answer(desk, "second", lambda item_id: other if item_id == overruled else known[item_id])
        goes_on(task, run)
        Sitting(browser, desk, run, "chris").photographs("desk-review.png", "adjudicate")
        answer(desk, "adjudicate", known.__getitem__)
        goes_on(task, run)
        ana.photographs("desk-queue.png", "label", lambda reader: bool(reader.suggested()))
        ana.photographs("desk-blind.png", "label", lambda reader: not reader.suggested())


def write_task(home: Path) -> Path:
    """The example's task on the first of its messages, with people instead of rehearsed experts."""
    text = (HELPDESK / "team.toml").read_text(encoding="utf-8").split("[budget]")[0]
    pool = (HELPDESK / "pool.jsonl").read_text(encoding="utf-8").splitlines()[:POOL]
    (home / "pool.jsonl").write_text("\n".join(pool) + "\n", encoding="utf-8")
    for name in ("gold.jsonl", "replies.jsonl", "policy.md"):
        text = text.replace(f'"{name}"', json.dumps(str(HELPDESK / name)))
    task = home / "team.toml"
    task.write_text(text.rstrip() + SETTINGS, encoding="utf-8")
    return task


def goes_on(task: Path, run: Path) -> ArgillaDesk:
    """`stillhouse run` until it waits for people again."""
    result = CliRunner().invoke(app, ["run", str(task), "--run", str(run), "--quiet"])
    if result.exit_code != 10:
        sys.exit(f"the run does not wait for people:\n{result.output}")
    return desk_of(project_of(run))


def desk_of(project: Project) -> ArgillaDesk:
    connection = connection_of(project, say_nothing)
    return ArgillaDesk(connection.url, connection.api_key, project.task)


def answer(desk: ArgillaDesk, way: Way, said: Callable[[str], str]) -> None:
    """Everything that waits in this way, by who it is dealt to."""
    users = {user["username"]: user for user in desk.api.call("GET", "/users", doing="answering")["items"]}
    for record in desk.open():
        if record.way == way:
            person = Person(desk, record.assigned[0], ArgillaApi(desk.api.url, users[record.assigned[0]]["api_key"]))
            question = RIGHT if way == "verify" else QUESTION
            person.responds(record.item.id, {question: said(record.item.id)}, way=way)


class Sitting:
    """Somebody before the desk, with the password that Stillhouse made for them."""

    def __init__(self, browser: Browser, desk: ArgillaDesk, run: Path, name: str) -> None:
        self.desk, self.name = desk, name
        self.reader = Reader(browser, desk.api.url)
        passwords = json.loads((run / "argilla" / FILE).read_text(encoding="utf-8"))
        self.reader.signs_in(name, passwords[name])
        self.reader.page.wait_for_url(lambda url: "sign-in" not in url)

    def photographs(self, file: str, way: Way, wanted: Callable[[Reader], bool] = lambda _: True) -> None:
        """The first record of their queue that is wanted."""
        link, page = self.desk.link(self.name, way), self.reader.page
        for number in range(1, len(self.desk.open()) + 1):
            self.reader.opens(link.replace("page=1", f"page={number}"))
            page.get_by_text("To help you", exact=True).wait_for()
            if wanted(self.reader):
                break
        page.wait_for_load_state("networkidle")
        taken = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
        taken.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / file, optimize=True)
        if (IMAGES / file).stat().st_size > MOST_BYTES:
            sys.exit(f"{file} has {(IMAGES / file).stat().st_size:,} bytes, more than {MOST_BYTES:,}")
        print(f"written: {IMAGES / file}")


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
