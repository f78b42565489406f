"""What a person reads at the end of a run: complete, without network, the same for the same data, never fooled by a text."""

import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from loop.anchoring import Anchoring
from loop.people import Annotator, Conflict, Opinion, People, Seconds
from loop.people_agreement import ClassAgreement, Figure
from loop.plots import confusion_heatmap, most_confused
from loop.report import (
    REASON_WORDS,
    Card,
    ClassRow,
    Instructive,
    Reliability,
    ReportData,
    RoundRow,
    class_rows,
    render_report,
    write_report,
)
from selector.batch import QUOTAS, RANDOM
from stillhouse.records import Interval

GOLDEN = Path(__file__).parent / "goldens" / "report.txt"
SPANS_GOLDEN = GOLDEN.with_name("report_spans.txt")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> \"' & {{ 7 * 7 }} </textarea>"
EMPTY = ReportData(
    "team", "Which team?", ("apps", "netops"), "2026-11-25T10:00:00+00:00", ("No round yet.",), "Answer."
)


def interval(value: float, on: str = "500 gold items") -> Interval:
    return Interval(value, value - 0.03, value + 0.02, 500, on, "Wilson score")


def counts_of(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """(3, k) hits, true and said of each label of a confusion matrix."""
    return np.stack([np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)]).astype(np.float64)


def spans() -> ReportData:
    """A run whose texts have any number of spans."""
    shown = "APP 'GitLab'; TIME 'the 22nd'"
    return replace(
        full(),
        label_names=("APP", "TIME"),
        score_name="F1 of an item's spans",
        measure_name="F1",
        measures=(("delivered", "F1", interval(0.9)), ("student", "partial F1", interval(0.7))),
        decisions="decisions",
        counts=np.array([[80, 0], [100, 7], [90, 0]], dtype=np.float64),
        confusion=None,
        instructive=(Instructive("push to GitLab until the 22nd", "none", shown, "uncertain", 0.4),),
    )


def two_people() -> People:
    """Pat took time, a rehearsed expert did not; they differ on two items, one of them still open."""
    hundred = "100 answers"
    pat = Annotator(
        "pat",
        False,
        60,
        2,
        interval(0.9),
        interval(0.8),
        interval(0.92),
        interval(0.7),
        interval(0.1),
        Seconds(58, 6.2, 8.7, 14.1, 640.0),
    )
    simulated = Annotator("rehearsed-1", True, 40, 0, None, None, None, None, None, None)
    said = (Opinion("pat", "netops", "label"), Opinion("rehearsed-1", "apps", "second"))
    return People(
        score_name="accuracy",
        annotators=(pat, simulated),
        shared=40,
        figures=(Figure("Krippendorff's alpha, labels", interval(0.81, "40 items")),),
        by_class=(ClassAgreement("netops", 0.75, interval(0.7)), ClassAgreement("apps", None, None)),
        conflicts=(Conflict("i1", "vpn or app?", said, None), Conflict("i2", "cert", said, "netops")),
        anchoring={"label": Anchoring(interval(0.67, hundred), interval(0.5, hundred), interval(0.2, hundred), 40)},
        timed=58,
        untimed=2,
        minutes=640 / 60,
        usd=5.33,
    )


def hostile_people() -> People:
    """The same, of names, labels and texts of whoever wants to write on the page."""
    people = two_people()
    said = (Opinion(HOSTILE, HOSTILE, "label"), Opinion("kim", "apps", "label"))
    return replace(
        people,
        annotators=(replace(people.annotators[0], name=HOSTILE), *people.annotators[1:]),
        figures=(Figure(HOSTILE, interval(0.81, HOSTILE)),),
        by_class=(ClassAgreement(HOSTILE, 0.75, interval(0.7)), *people.by_class[1:]),
        conflicts=(Conflict(HOSTILE, HOSTILE, said, None), Conflict("i2", "cert", said, HOSTILE)),
    )


def full() -> ReportData:
    """A run of three rounds on two labels."""
    sure = np.linspace(0.3, 1, 200)
    rounds = tuple(
        RoundRow(number, 95 * number, interval(0.8 + 0.05 * number), interval(0.7 + 0.05 * number), cost, 24, 50, *why)
        for number, (cost, why) in enumerate(
            [
                (6.12, ("continue", "too few answers to judge a gain")),
                (0.0, ("continue", "gained 5.0 points")),
                (0.0, ("stop", "the last round gained 0.4 points at most")),
            ]
        )
    )
    return replace(
        EMPTY,
        headline=("The delivered labels are 90.0 % right.", "The teacher alone is 78.0 % right.", "It levelled off."),
        next_step="stillhouse label runs/demo FILE.jsonl OUT.jsonl",
        banners=("The experts are rehearsed.", "The teacher is a recording."),
        cards=(Card("Delivered labels", interval(0.9), "all of the pool"), Card("Student", interval(0.8))),
        rounds=rounds,
        teacher=interval(0.78),
        reference=((95, 0.8), (190, 0.82)),
        reliability=(Reliability("Teacher", sure, sure > 0.5), Reliability("Student", sure, sure > 0.4)),
        counts=counts_of(np.array([[90, 10], [4, 96]])),
        confusion=np.array([[90, 10], [4, 96]]),
        confusion_on="delivered labels against all known labels",
        reasons={"uncertain": 152, "random": 38},
        instructive=(Instructive("vpn cert expired, contractor", "netops", "apps", "uncertain", 0.07),),
        vote_status={"ok": 398, "refused": 2},
        people=two_people(),
        model_card="# team\n\nWhat it is not for.",
        facts=(("Seed", "0"), ("Labels (hash)", "a81c3f90b2d17c44")),
    )


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and text outside style and SVG."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.hidden += tag in {"style", "svg"}

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in {"style", "svg"}

    def handle_data(self, data: str) -> None:
        if not self.hidden and data.strip():
            self.words.append(" ".join(data.split()))


def test_a_report_reads_as_its_golden() -> None:
    """The words of the page change only on purpose."""
    text = "\n".join(Page(render_report(full())).words) + "\n"
    if os.environ.get("STILLHOUSE_GOLDENS") == "write":
        GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_a_report_of_spans_reads_as_its_golden() -> None:
    """Every figure by its name, labels by hits, and nothing is taken for one other."""
    text = "\n".join(Page(render_report(spans())).words) + "\n"
    if os.environ.get("STILLHOUSE_GOLDENS") == "write":
        SPANS_GOLDEN.write_text(text, encoding="utf-8", newline="\n")
    assert text == SPANS_GOLDEN.read_text(encoding="utf-8")


def test_fields_are_called_fields() -> None:
    """A schema has no labels."""
    words = Page(render_report(replace(spans(), labelled=False))).words
    assert "By field, the worst first" in words
    assert "Field" in words


def test_the_same_data_give_the_same_bytes() -> None:
    """No clock and no random id is in the page, the pictures included."""
    assert render_report(full()) == render_report(full())


def test_a_report_loads_nothing() -> None:
    """No address of the network is fetched: no src, no href but to the page itself, no url() or import in styles."""
    html = render_report(full())
    for _, attributes in Page(html).tags:
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.findall(r"url\((?!#)|@import", html)
    assert set(re.findall(r"https?://[^\"' <]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_texts_are_shown_and_never_interpreted() -> None:
    """Wherever a text of others stands, markup in it appears as text; no tag more than without it."""
    data = full()
    hostile = replace(
        data,
        task_name=HOSTILE,
        question=HOSTILE,
        label_names=(HOSTILE, "netops"),
        headline=(HOSTILE, *data.headline[1:]),
        banners=(HOSTILE, *data.banners[1:]),
        instructive=(Instructive(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 0.1),),
        people=hostile_people(),
        cards=(Card(HOSTILE, interval(0.9, HOSTILE), HOSTILE), *data.cards[1:]),
        reliability=(Reliability(HOSTILE, np.array([0.5]), np.array([True])),),
        reasons={HOSTILE: 1},
        vote_status={HOSTILE: 1},
        model_card=HOSTILE,
        facts=((HOSTILE, HOSTILE),),
        next_step=HOSTILE,
    )
    page = Page(render_report(hostile))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(render_report(data)).tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.words.count(HOSTILE) >= 12


def test_a_run_without_anything_makes_a_page() -> None:
    """Round 0: no answers, no gold, no student; the page says what is missing."""
    words = " ".join(Page(render_report(EMPTY)).words)
    assert "Nothing is measured yet" in words
    assert "No round is finished yet" in words
    assert "Nobody has been asked yet" in words


def test_a_round_without_figures_is_shown_as_missing() -> None:
    """No number is invented where nothing was measured."""
    row = RoundRow(0, 0, None, None, 1.5, 0, 40, "continue", "no answers yet")
    words = Page(render_report(replace(EMPTY, rounds=(row,)))).words
    assert words.count("–") == 2
    assert "$1.50" in words


def test_one_sentence_says_what_is_not_the_real_thing() -> None:
    """Rehearsed experts and a recorded teacher stand above every figure."""
    words = Page(render_report(full())).words
    assert (
        words.index("The experts are rehearsed.") < words.index("The teacher is a recording.") < words.index("90.0 %")
    )


def test_every_picture_has_a_sentence_in_its_place() -> None:
    """Six pictures, each with its own words for those who cannot see it."""
    tags = Page(render_report(full())).tags
    said = [attributes.get("aria-label") for _, attributes in tags if attributes.get("role") == "img"]
    assert len(said) == sum(tag == "svg" for tag, _ in tags) == len(set(said)) == 6
    assert all(said)


def test_every_reason_of_a_pick_is_explained() -> None:
    """The page has plain words for whatever the selector may say."""
    assert set(REASON_WORDS) >= {RANDOM, *QUOTAS}


def test_a_task_of_many_labels_shows_the_most_confused() -> None:
    """Of 77 labels the 20 with the most errors are drawn, and all are in the table."""
    names = tuple(f"intent_{number}" for number in range(77))
    matrix = np.diag(np.full(77, 40))
    matrix[np.arange(20, 40), np.arange(21, 41)] = 3
    data = replace(EMPTY, label_names=names, counts=counts_of(matrix), confusion=matrix, confusion_on="gold")
    html = render_report(data)
    words = Page(html).words
    assert "Gold. Shown: the 20 labels of 77 with the most errors." in words
    assert set(names) <= set(words)
    assert set(most_confused(matrix)) == set(range(21, 40)) | {20}


@pytest.mark.parametrize("name", ["$x_1$", "größe 中文 🙂", "a" * 500, "</svg><script>", "\x07bell"])
def test_any_label_can_be_drawn(name: str) -> None:
    """Dollars are no formula, scripts need no font, long names are cut, markup is text."""
    drawn = confusion_heatmap(np.array([[3, 1], [0, 2]]), (name, "other"))
    assert drawn is not None
    assert "<script>" not in drawn.svg
    assert drawn.svg.count("</svg>") == 1


def test_labels_score_the_worst_first() -> None:
    """Precision, recall and F1 by label; a label that never occurs has none, and stands last."""
    counts = counts_of(np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]]))
    rows = class_rows(counts, ("apps", "netops", "soc"))
    assert rows == [
        ClassRow("apps", 10, 1.0, 8 / 10, 16 / 18),
        ClassRow("netops", 10, 10 / 12, 1.0, 20 / 22),
        ClassRow("soc", 0, None, None, None),
    ]


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    """The file holds the page, an older one is replaced, and nothing half written stays beside it."""
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(full(), path)
    assert path.read_text(encoding="utf-8") == render_report(full())
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_character_does_not_cost_the_report(tmp_path: Path) -> None:
    """Half a surrogate pair, as some exports have it, is written as a question mark."""
    broken = replace(full(), instructive=(Instructive("caf\ud83d", "apps", "netops", "random", 0.1),))
    write_report(broken, tmp_path / "report.html")
    assert "caf?" in (tmp_path / "report.html").read_text(encoding="utf-8")
