"""Windows and units: every token counts once, every unit gets a vector, whatever the characters and the length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stillhouse.errors import InputError
from tests.trainer.tiny import WORDS
from trainer.base import Base
from trainer.features import embed, layers_of
from trainer.inputs import Inputs
from trainer.surface import N_MARKS
from trainer.windows import tokenise

# Emoji with joiners and modifiers, combining marks, right to left, line ends, zero width, another width of letters.
PIECES = [
    *(
        "printer",
        "Jam",
        "x" * 40,
        "👩\u200d👩\u200d👧",
        "🔥",
        "👍🏽",
        "e\u0301",
        "n\u0303o",
        "שלום",
        "مرحبا",
        "\r\n",
        "\u200b",
        "\u200d",
    ),
    *("\ufeff", " ", "\t", ".", "—", "打印机", "Ｆｕｌｌ", "\u0e01\u0e33", "\x00", "İ", "ß", "ﬁ", "\u0301"),
]


@st.composite
def spanned(draw: st.DrawFn) -> tuple[str, NDArray[np.int64]]:
    """A text and its units: some pieces of it."""
    pieces = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=25))
    ends = np.cumsum([len(piece) for piece in pieces])
    chosen = [place for place in range(len(pieces)) if draw(st.booleans())]
    spans = [(int(ends[place]) - len(pieces[place]), int(ends[place])) for place in chosen]
    return "".join(pieces), np.array(spans, dtype=np.int64).reshape(-1, 2)


@given(st.lists(spanned(), min_size=1, max_size=4), st.sampled_from([6, 9, 64]))
@settings(deadline=None, max_examples=60)
def test_every_unit_gets_a_finite_vector(minilm: Base, rows: list[tuple[str, NDArray[np.int64]]], limit: int) -> None:
    """Emoji, combining marks, right to left, CRLF and zero width included; each state of a unit has length 1."""
    inputs = Inputs([text for text, _ in rows], spans=[spans for _, spans in rows])
    vectors = embed(minilm, inputs, max_tokens=limit, threads=1).vectors
    states = vectors[:, :-N_MARKS].reshape(inputs.units, len(layers_of(minilm.encoder)), minilm.dimensions)
    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(states, axis=2), 1.0, atol=1e-3)


@given(spanned(), st.sampled_from([6, 9, 64]))
@settings(deadline=None, max_examples=60)
def test_a_unit_is_the_mean_of_the_tokens_that_overlap_it(
    minilm: Base, row: tuple[str, NDArray[np.int64]], limit: int
) -> None:
    """Windows or not, they are the tokens that the tokenizer gives for the unit's characters in the whole text."""
    text, spans = row
    windows = tokenise(minilm, Inputs([text], spans=[spans]), limit)
    read = minilm.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    for unit, (start, end) in enumerate(spans.tolist()):
        wanted = [
            token
            for token, (a, b) in zip(read["input_ids"], read["offset_mapping"], strict=True)
            if a < end and b > start
        ]
        links = windows.links[0][windows.links[0][:, 2] == unit]
        assert len(links) > 0
        if wanted:
            assert [windows.ids[0][window][place] for window, place, _ in links] == wanted


@given(st.lists(st.sampled_from(["printer", "toner", "jam"]), max_size=80), st.integers(1, 20), st.integers(0, 60))
@settings(deadline=None, max_examples=60)
def test_each_token_counts_once(tiny: Base, words: list[str], limit: int, pair: int) -> None:
    """Of text, second text and frame together; no window is longer than the limit (but for a few tokens at least)."""
    text, second = " ".join(words), " ".join(["scanner"] * pair)
    windows = tokenise(tiny, Inputs([text], pairs=[second]), limit)
    counted = sorted(windows.ids[0][window][place] for window, place, _ in windows.links[0])
    frame = tiny.tokenizer(text, second)["input_ids"] if second else tiny.tokenizer(text)["input_ids"]
    assert counted == sorted(frame)
    assert max(map(len, windows.ids[0])) <= max(limit, 9)


def test_a_token_is_read_where_it_is_farthest_from_an_edge(tiny: Base) -> None:
    """No other window has the token farther inside; the text's own ends are no edges."""
    words = WORDS.split()[:12] * 2
    windows = tokenise(tiny, Inputs([" ".join(words)]), 10)
    content = [window[1:-1] for window in windows.ids[0]]
    step = len(content[0]) - 2
    for window, place, _ in windows.links[0][2:]:  # after the frame
        token = window * step + place - 1

        def inside(number: int, token: int = token) -> float:
            left, right = token - number * step, number * step + len(content[number]) - 1 - token
            if left < 0 or right < 0:
                return -1
            return min(left if number else np.inf, right if number + 1 < len(content) else np.inf)

        assert inside(window) == max(map(inside, range(len(content))))


def test_a_unit_between_tokens_has_those_of_its_nearest(minilm: Base) -> None:
    """A zero-width character has no token of its own."""
    text = "printer \u200b jam"
    spans = np.array([[0, 7], [8, 9], [10, 13]])
    vectors = embed(minilm, Inputs([text], spans=[spans])).vectors
    states = vectors[:, : minilm.dimensions]
    assert any(np.allclose(states[1], states[other]) for other in (0, 2))


def test_units_of_a_text_without_tokens_have_a_vector(tiny: Base) -> None:
    """A text of nothing but zero width: the frame speaks for it."""
    vectors = embed(tiny, Inputs(["\u200b"], spans=[np.array([[0, 1]])])).vectors
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[0, :32]).sum() > 0


def test_texts_without_units_take_no_rows(tiny: Base) -> None:
    """An item of no tokens is not an error, alone or among others."""
    none = np.zeros((0, 2), dtype=np.int64)
    inputs = Inputs(["paper jam", "", "reset"], spans=[none, none, np.array([[0, 5]])])
    assert embed(tiny, inputs).vectors.shape[0] == 1
    assert embed(tiny, Inputs([""], spans=[none])).vectors.shape[0] == 0


def test_units_do_not_depend_on_neighbouring_texts(tiny: Base) -> None:
    """A unit has the same vector alone as in a batch with longer texts."""
    texts = ["paper jam", "printer toner " * 40, "reset"]
    spans = [np.array([[0, 5], [6, 9]]), np.array([[0, 7], [500, 507]]), np.array([[0, 5]])]
    together = embed(tiny, Inputs(texts, spans=spans), max_tokens=20).vectors
    alone = [embed(tiny, Inputs([t], spans=[s]), max_tokens=20).vectors for t, s in zip(texts, spans, strict=True)]
    assert np.allclose(together, np.concatenate(alone), atol=1e-5)


def test_a_long_text_is_the_mean_over_all_its_windows(tiny: Base) -> None:
    """What stands beyond the limit changes the vector: nothing is cut."""
    start = "printer toner paper jam " * 5
    ends = [start + "password login " * 10, start + "tray scanner " * 10]
    vectors = embed(tiny, Inputs(ends), max_tokens=12).vectors
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


def test_a_pair_is_read_with_its_text(tiny: Base) -> None:
    """Another second text is another vector; none at all is the text alone."""
    first, second, none = embed(tiny, Inputs(["paper jam"] * 3, pairs=["login", "tray", ""])).vectors
    assert np.abs(first - second).max() > 0.01
    assert np.allclose(none, embed(tiny, Inputs(["paper jam"])).vectors[0], atol=1e-5)


def test_the_focus_changes_what_the_encoder_reads(tiny: Base) -> None:
    """The same unit has other states with another predicate in focus, and knows how far it is from it."""
    spans = np.array([[0, 5], [6, 9], [10, 14]])
    inputs = Inputs(["paper jam tray"] * 2, spans=[spans] * 2, focus=[(0, 5), (10, 14)])
    vectors = embed(tiny, inputs).vectors
    states = len(layers_of(tiny.encoder)) * 32
    assert np.abs(vectors[1, :states] - vectors[4, :states]).max() > 0.01
    distances = vectors[:, states + 32 + N_MARKS :] > 0
    assert [int(row.argmax()) - 5 for row in distances] == [0, 1, 2, -2, -1, 0]


def test_a_text_without_a_focus_among_others_is_read(tiny: Base) -> None:
    """A role task may have an item whose predicate is missing: zeros stand for it."""
    inputs = Inputs(["paper jam"] * 2, spans=[np.array([[0, 5]])] * 2, focus=[None, (6, 9)])
    vectors = embed(tiny, inputs).vectors
    states = len(layers_of(tiny.encoder)) * 32
    assert (vectors[0, states : states + 32] == 0).all()
    assert np.isfinite(vectors).all()


def test_inputs_that_do_not_fit_each_other_are_refused() -> None:
    """One pair too few is found at once."""
    with pytest.raises(InputError, match="2 pairs, one for each text"):
        Inputs(["a", "b"], pairs=["c"])


def test_taking_texts_takes_their_parts() -> None:
    """Spans and focus go with their text."""
    inputs = Inputs(["a", "bc"], spans=[np.array([[0, 1]]), np.array([[0, 1], [1, 2]])], focus=[None, (0, 1)])
    taken = inputs.take([1])
    assert (list(taken.texts), taken.units, taken.focus) == (["bc"], 2, [(0, 1)])
    assert inputs.starts.tolist() == [0, 1, 3]
