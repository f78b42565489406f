"""The example of other inputs: PDF files read as the texts of a task."""

import importlib.util
import runpy
import shutil
from pathlib import Path

import pytest

from serving.convert import load_convert
from serving.items import read_items
from stillhouse.errors import TaskError
from stillhouse.task_file import load_task

HOME = Path(__file__).parents[2] / "examples" / "other_inputs"
pytestmark = pytest.mark.skipif(importlib.util.find_spec("pypdf") is None, reason="needs the extra pdf")


def test_the_pages_of_a_pdf_are_the_text_of_its_row() -> None:
    """Line by line, as somebody would read it; the file's name stays as metadata."""
    data = load_task(HOME / "task.toml").data
    items = read_items(HOME / data.pool, data, home=HOME).items
    assert items[0].text == "Northwind Paper Ltd\nInvoice no. NP-1001\nDate: 4 March 2024\nTotal due: 1,250.00 EUR"
    assert [(item.id, item.metadata["file"]) for item in items] == [
        ("np-1001", "invoices/1001.pdf"),
        ("hc-88", "invoices/1002.pdf"),
    ]


def test_the_files_are_what_their_script_writes() -> None:
    """Nobody has to trust a binary file of this checkout."""
    made = runpy.run_path(str(HOME / "make_pdfs.py"))
    for name, lines in made["INVOICES"].items():
        assert (HOME / "invoices" / name).read_bytes() == made["pdf_of"](lines)


@pytest.mark.parametrize(
    ("file", "said"),
    [("../../pyproject.toml", "expected a file below other_inputs"), ("invoices/none.pdf", "No such file")],
)
def test_a_row_cannot_name_any_file(tmp_path: Path, file: str, said: str) -> None:
    """Only those beside the task; a file that is missing is a problem of its row."""
    (tmp_path / "pool.csv").write_text(f"id,file\na,{file}\n")
    data = load_task(HOME / "task.toml").data
    with pytest.raises(TaskError, match=said):
        read_items(tmp_path / "pool.csv", data, home=HOME)


def test_a_pdf_without_text_is_said_to_need_ocr(tmp_path: Path) -> None:
    """A scan has no text; an empty text would be labelled as if it were one."""
    home = shutil.copytree(HOME, tmp_path / "home")
    (home / "scan.pdf").write_bytes(runpy.run_path(str(HOME / "make_pdfs.py"))["pdf_of"](()))
    with pytest.raises(ValueError, match="OCR"):
        load_convert("pdf:text_of", home)({"file": "scan.pdf"})
