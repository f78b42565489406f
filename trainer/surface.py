"""What the characters of a unit show: case, digits, punctuation, length, and where it stands to the words in focus.

Encoders that lower-case their input lose case, and names are known by it.
"""

import unicodedata

import numpy as np
from numpy.typing import NDArray

from stillhouse.records import CharSpan
from trainer.inputs import Inputs, Spans

SCALE = 0.3  # of a mark, beside vectors of length 1: measured on UD EWT, where 0.3 and 1 are alike
DISTANCES = (1, 2, 3, 5, 9)  # units from the focus at which a new bucket begins, on each side
N_MARKS = 15
N_DISTANCES = 2 * len(DISTANCES) + 1


def surface_of(inputs: Inputs) -> NDArray[np.float32]:
    """(U, s): marks of each unit times SCALE; s = 0 where the whole text is the unit."""
    if inputs.spans is None:
        return np.zeros((len(inputs), 0), dtype=np.float32)
    focus = inputs.focus or [None] * len(inputs)
    parts = []
    for text, spans, asked in zip(inputs.texts, inputs.spans, focus, strict=True):
        marks = _marks(text, spans)
        if inputs.focus is not None:
            marks = np.concatenate([marks, _distances(spans, asked)], axis=1)
        parts.append(marks)
    return np.concatenate([np.zeros((0, surface_width(inputs))), *parts]).astype(np.float32) * np.float32(SCALE)


def surface_width(inputs: Inputs) -> int:
    """How many marks a unit has."""
    if inputs.spans is None:
        return 0
    return N_MARKS + (N_DISTANCES if inputs.focus is not None else 0)


def _marks(text: str, spans: Spans) -> NDArray[np.float64]:
    words = [text[start:end] for start, end in np.asarray(spans).tolist()]
    capital = [False, *(word[:1].isupper() for word in words), False]
    rows = [
        (
            capital[place],
            capital[place] and place > 1,
            capital[place] and capital[place - 1],
            capital[place] and capital[place + 1],
            len(word) > 1 and word.isupper(),
            any(letter.isupper() for letter in word[1:]),
            any(letter.isdigit() for letter in word),
            bool(word) and all(unicodedata.category(letter)[0] in "PS" for letter in word),
            any(letter in "@#/" for letter in word),
            "-" in word,
            len(word) == 1,
            len(word) <= 3,
            len(word) >= 8,
            place == 1,
            text[max(int(spans[place - 1][0]) - 1, 0) : int(spans[place - 1][0])].isspace(),
        )
        for place, word in enumerate(words, start=1)
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), N_MARKS)


def _distances(spans: Spans, focus: CharSpan | None) -> NDArray[np.float64]:
    """One-hot buckets of a unit's signed distance from the focus, in units; zeros where nothing is in focus."""
    out = np.zeros((len(spans), N_DISTANCES))
    if focus is None or len(spans) == 0:
        return out
    begins, ends = np.asarray(spans).T
    before = int((ends <= focus[0]).sum())  # units that end before the focus
    through = max(int((begins < focus[1]).sum()), before + 1)
    place = np.arange(len(spans))
    signed = np.where(place < before, place - before, np.where(place >= through, place - through + 1, 0))
    bucket = np.searchsorted(DISTANCES, np.abs(signed), side="right") * np.sign(signed)
    out[place, bucket + len(DISTANCES)] = 1.0
    return out
