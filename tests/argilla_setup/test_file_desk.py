"""The file desk: batches out, answers in, every bad line named, nothing lost."""

import json
from pathlib import Path

import pytest

from argilla_setup.file_desk import FileDesk
from stillhouse.errors import DeskError, InputError
from tests.argilla_setup.people import a_record, a_task
from tests.argilla_setup.test_desk_contract import ODD_TEXTS


@pytest.fixture
def desk(tmp_path: Path) -> FileDesk:
    return FileDesk(tmp_path / "desk", a_task("files"))


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def drop(desk: FileDesk, name: str, content: str | bytes) -> None:
    (desk.answers_folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def test_a_batch_is_a_file_a_person_can_fill_in(desk: FileDesk) -> None:
    """One line an item with text, reason and an empty label; a suggestion unless it is asked blind."""
    assert desk.publish([a_record("seen"), a_record("blind", blind=True)]) == 2
    seen, blind = lines_of(desk.folder / "batch-01.jsonl")
    assert seen == {
        "id": "seen",
        "text": "Where is my parcel?",
        "suggestion": "delivery",
        "suggested_by": "teacher t",
        "reason": "the model is unsure",
        "uncertainty": 0.5,
        "round": 1,
        "blind": False,
        "guidelines": desk.task.guidelines_id(),
        "label": "",
    }
    assert (blind["suggestion"], blind["suggested_by"], blind["blind"]) == (None, None, True)


def test_a_repeated_push_doubles_nothing_and_keeps_every_line(desk: FileDesk) -> None:
    """Known items stay where they are; new ones join the file of their round."""
    assert desk.publish([a_record("a")]) == 1
    before = (desk.folder / "batch-01.jsonl").read_bytes()
    assert desk.publish([a_record("a", "another text"), a_record("b"), a_record("b"), a_record("c", round=2)]) == 2
    assert (desk.folder / "batch-01.jsonl").read_bytes().startswith(before)
    assert [line["id"] for line in lines_of(desk.folder / "batch-01.jsonl")] == ["a", "b"]
    assert [line["id"] for line in lines_of(desk.folder / "batch-02.jsonl")] == ["c"]
    assert desk.publish([]) == 0


def test_every_text_survives(desk: FileDesk) -> None:
    """Also the ones with line separators that are not line feeds."""
    desk.publish([a_record(name, text) for name, text in ODD_TEXTS.items()])
    assert {line["id"]: line["text"] for line in lines_of(desk.folder / "batch-01.jsonl")} == ODD_TEXTS
    assert desk.waiting() == len(ODD_TEXTS)


def test_a_filled_copy_of_the_batch_is_an_answer(desk: FileDesk) -> None:
    """The file's name says who answered; empty labels wait, null is a pass; a byte order mark does no harm."""
    desk.publish([a_record("a"), a_record("b", blind=True), a_record("c")])
    text = (desk.folder / "batch-01.jsonl").read_text(encoding="utf-8")
    lines = text.replace('"label": ""', '"label": "billing"', 1).splitlines()
    lines[1] = lines[1].replace('"label": ""', '"label": null')
    drop(desk, "anna.jsonl", "\ufeff" + "\r\n".join(lines))
    assert [(a.item_id, a.annotator, a.label, a.blind, a.rehearsed) for a in desk.collect()] == [
        ("a", "anna", "billing", False, False),
        ("b", "anna", None, True, False),
    ]
    assert desk.waiting() == 1
    assert desk.collect()[0].answered_at.endswith("+00:00")


def test_a_later_answer_of_the_same_person_replaces_the_earlier(desk: FileDesk) -> None:
    """Files count in the order of their names; other people's answers stay."""
    desk.publish([a_record("a")])
    drop(
        desk,
        "1.jsonl",
        '{"id": "a", "label": "billing", "annotator": "ann"}\n{"id": "a", "label": "returns", "annotator": "bo"}',
    )
    drop(desk, "2.jsonl", '{"id": "a", "label": "delivery", "annotator": "ann"}')
    assert [(a.annotator, a.label) for a in desk.collect()] == [("ann", "delivery"), ("bo", "returns")]


def test_every_bad_line_is_named_and_no_good_one_is_lost(desk: FileDesk) -> None:
    """One error lists all problems of all files with their lines; once they are mended everything counts."""
    desk.publish([a_record("a"), a_record("b")])
    good = '{"id": "a", "label": "billing"}'
    bad = [
        good,
        '{"id": "zzz", "label": "billing"}',
        '{"id": "b", "label": "biling"}',
        "not json",
        '["a", "billing"]',
        '{"id": "a"}',
        '{"id": "a", "label": "billing", "annotator": 7}',
        '{"id": "a", "label": ["billing"]}',
    ]
    drop(desk, "bo.jsonl", "\n".join(bad))
    drop(desk, "old.jsonl", '{"id": "b", "label": "Rückgabe"}'.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        desk.collect()
    for said in (
        "8 bad lines",
        "bo.jsonl, line 2: the id 'zzz' was never published",
        "bo.jsonl, line 3: 'biling' is not a label of the task (did you mean 'billing'?)",
        "bo.jsonl, line 4: not JSON",
        "bo.jsonl, line 5: expected an object, found list",
        "bo.jsonl, line 6: the field 'label' is missing",
        "bo.jsonl, line 7: the annotator must be a text",
        "bo.jsonl, line 8: ['billing'] is not a label of the task",
        "old.jsonl, line 1: not UTF-8 (byte 24 is 0xfc)",
    ):
        assert said in str(caught.value)
    drop(desk, "bo.jsonl", good)
    drop(desk, "old.jsonl", '{"id": "b", "label": "returns"}')
    assert [(a.item_id, a.label) for a in desk.collect()] == [("a", "billing"), ("b", "returns")]


def test_a_spoilt_batch_file_is_not_guessed_at(desk: FileDesk) -> None:
    """The batch says what was asked, and blind or not: a broken line in it is an error, not a missing item."""
    desk.publish([a_record("a")])
    (desk.folder / "batch-01.jsonl").write_text("{broken")
    with pytest.raises(InputError, match="not the batch that was written"):
        desk.collect()


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "desk").write_text("")
    with pytest.raises(DeskError, match="cannot be read or written"):
        FileDesk(tmp_path / "desk", a_task("files"))


def test_the_link_is_the_folder(desk: FileDesk) -> None:
    """Where a person finds the batches."""
    assert desk.link() == str(desk.folder.resolve())


def test_what_people_go_by_lies_beside_the_batches(desk: FileDesk) -> None:
    """As it is now; each line names the version that it was published with."""
    desk.publish([a_record("a")])
    assert (desk.folder / "guidelines.md").read_text(encoding="utf-8") == "Be kind."
    edited = FileDesk(desk.folder, desk.task.model_copy(update={"guidelines": "Be quick."}))
    edited.publish([a_record("a"), a_record("b")])
    assert (desk.folder / "guidelines.md").read_text(encoding="utf-8") == "Be quick."
    versions = [line["guidelines"] for line in lines_of(desk.folder / "batch-01.jsonl")]
    assert versions == [desk.task.guidelines_id(), edited.task.guidelines_id()]
