"""Tags and spans."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinds.bio import Bio, Part, likeliest, stretches

LABELS = ("a", "b")


def consistent(path: tuple[int, ...]) -> bool:
    return all(tag == 0 or tag % 2 == 1 or (at > 0 and path[at - 1] in {tag, tag - 1}) for at, tag in enumerate(path))


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_the_decoder_finds_the_likeliest_of_all_consistent_taggings(units: int, seed: int) -> None:
    """Against brute force over every tagging."""
    probs = np.random.default_rng(seed).dirichlet(np.full(5, 0.5), size=units)
    found = likeliest(probs)
    assert consistent(tuple(found.tolist()))
    rows = np.arange(units)
    best = max(
        (path for path in itertools.product(range(5), repeat=units) if consistent(path)),
        key=lambda path: np.log(np.maximum(probs[rows, list(path)], 1e-9)).sum(),
    )
    assert np.isclose(
        np.log(np.maximum(probs[rows, found], 1e-9)).sum(), np.log(np.maximum(probs[rows, list(best)], 1e-9)).sum()
    )


def test_two_neighbours_of_one_label_stay_two() -> None:
    """A begin inside a run starts another span."""
    assert stretches(np.array([1, 2, 1, 0, 3])) == [(0, 1, 0), (2, 2, 0), (4, 4, 1)]


def test_overlapping_spans_of_two_labels_survive_in_layers() -> None:
    """A block for each label holds what one block cannot."""
    bio = Bio(LABELS, layered=True)
    parts = [Part(0, 2, 0, 1.0), Part(1, 3, 1, 1.0)]
    assert bio.decode(bio.encode(4, parts)) == parts
    assert [part.label for part in Bio(LABELS).decode(Bio(LABELS).encode(4, parts))] == [0]


def test_a_region_that_may_hold_something_is_one_doubt_however_long() -> None:
    """Three doubtful units in a row are one region; a sure O starts none."""
    bio = Bio(LABELS)
    probs = bio.outside(5)
    probs[1:4, 0], probs[1:4, 3] = 0.6, 0.4
    regions = bio.regions(probs)
    assert [(part.first, part.last, part.label, decoded) for part, decoded in regions] == [(1, 3, 1, False)]
    assert np.isclose(regions[0][0].p, 0.6)


def test_confidence_of_a_span_is_normalised_by_its_length() -> None:
    """A long span of sure tags is as sure as a short one."""
    bio = Bio(LABELS)
    short, long = (0.9 * bio.encode(n, [Part(0, n - 1, 0, 1.0)]) + 0.02 for n in (1, 6))
    assert np.isclose(bio.decode(short)[0].p, bio.decode(long)[0].p)
