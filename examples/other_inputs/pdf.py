"""The texts of PDF files, for a task whose rows name them: `convert = "pdf:text_of"` in task.toml. Needs pypdf."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pypdf import PdfReader

HERE = Path(__file__).resolve().parent


def text_of(row: Mapping[str, Any]) -> dict[str, str]:
    """A row with a `file`, a path from this folder on -> what its pages say, one after the other."""
    path = (HERE / row["file"]).resolve()
    if not path.is_relative_to(HERE):  # a row of data must not choose any file of this machine
        raise ValueError(f"expected a file below {HERE.name}, found {row['file']!r}")
    text = "\n".join(page.extract_text().strip() for page in PdfReader(path).pages).strip()
    if not text:
        raise ValueError(f"{path.name} has no text: a scan must go through OCR first")
    return {"text": text}
