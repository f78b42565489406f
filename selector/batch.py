"""One batch for people: first a uniformly random share, asked blind, then the targeted rest, each with its reason."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selector.diversity import spread, without_near_duplicates
from selector.uncertainty import Signals
from stillhouse.probabilities import Floats
from stillhouse.records import Pick

RANDOM = "random"
CANDIDATES_A_PICK = 3  # spread chooses among this many times the targeted share; measured with 1, 3 and 10
# How the targeted share is divided; what a reason does not use falls to `uncertain`.
QUOTAS = {"uncertain": 0.85, "teacher_student": 0.10, "variants": 0.05}


def choose_batch(
    item_ids: Sequence[str],
    unanswered: NDArray[np.bool_],
    scores: Signals,
    embeddings: Floats,
    *,
    size: int,
    random_share: float,
    near_duplicate_cosine: float,
    round_number: int,
    rng: np.random.Generator,
    quotas: dict[str, float] | None = None,
) -> list[Pick]:
    """Picks for people: random ones first, then targeted ones by falling score.

    `unanswered` (n,), `embeddings` (n, d) of unit length. The random share is drawn from everything unanswered before
    anything is targeted, so each of these picks has the inclusion probability (random picks / unanswered) and is blind.
    Near-duplicates of a targeted pick are left out, even if the batch stays smaller for it; ties break by id.
    """
    ids = np.asarray(item_ids, dtype=object).astype(str)
    open_rows = np.flatnonzero(unanswered)
    open_rows = open_rows[np.argsort(ids[open_rows], kind="stable")]  # the draw depends on ids, not on the file's order
    size = min(size, len(open_rows))
    random_count = min(size, math.ceil(size * random_share - 1e-9))
    drawn = rng.choice(open_rows, random_count, replace=False) if random_count else np.empty(0, dtype=np.intp)
    probability = random_count / len(open_rows) if len(open_rows) else 0.0
    uncertain = scores.by_reason["uncertain"]
    picks = [
        Pick(str(ids[row]), round_number, RANDOM, float(uncertain[row]), probability, blind=True)
        for row in drawn[np.argsort(ids[drawn])]
    ]
    left = np.setdiff1d(open_rows, drawn)
    for row, reason in _targeted(
        ids, left, scores, embeddings, size - random_count, near_duplicate_cosine, quotas or QUOTAS, rng
    ):
        score = float(scores.by_reason[reason][row])
        picks.append(Pick(str(ids[row]), round_number, reason, score, None, blind=False))
    return picks


def with_hidden(picks: Sequence[Pick], share: float, rng: np.random.Generator) -> list[Pick]:
    """The batch with a share of its targeted picks asked blind, drawn by lot: beside them the others show what a suggestion
    does to an answer. They are no part of the random share, and no figure of the labels rests on them.
    """
    targeted = [number for number, pick in enumerate(picks) if not pick.blind]
    hidden = set(rng.choice(targeted, round(share * len(targeted)), replace=False).tolist()) if targeted else set()
    return [replace(pick, blind=True) if number in hidden else pick for number, pick in enumerate(picks)]


def _targeted(
    ids: NDArray[Any],
    rows: NDArray[np.intp],
    scores: Signals,
    embeddings: Floats,
    count: int,
    cosine: float,
    quotas: dict[str, float],
    rng: np.random.Generator,
) -> list[tuple[int, str]]:
    """Rows with their reasons, `count` of them as long as enough rows are distinct."""
    if count == 0 or len(rows) == 0:
        return []
    seed = int(rng.integers(2**31))
    chosen: dict[int, str] = {}
    wanted = {r: round(count * q) for r, q in quotas.items() if r in scores.by_reason and r != "uncertain"}
    wanted["uncertain"] = count - sum(wanted.values())
    for reason in sorted(wanted, key=lambda r: (r != "uncertain", r)):
        value = scores.by_reason[reason]
        order = rows[np.lexsort((ids[rows], -value[rows]))]
        free = order[[row not in chosen for row in order]]
        distinct = without_near_duplicates(embeddings, free, cosine, CANDIDATES_A_PICK * wanted[reason], [*chosen])
        if reason != "uncertain":
            distinct = distinct[value[distinct] > 0][: wanted[reason]]
        picked = spread(embeddings[distinct], value[distinct], wanted[reason], seed=seed, ids=ids[distinct])
        chosen.update({int(distinct[p]): reason for p in picked})
    rest = rows[np.lexsort((ids[rows], -scores.by_reason["uncertain"][rows]))]
    rest = rest[[row not in chosen for row in rest]]
    rest = without_near_duplicates(embeddings, rest, cosine, count - len(chosen), [*chosen])
    chosen.update(dict.fromkeys(rest.tolist(), "uncertain"))
    order_of = {"uncertain": 0}
    return sorted(
        chosen.items(), key=lambda pair: (order_of.get(pair[1], 1), -scores.by_reason[pair[1]][pair[0]], ids[pair[0]])
    )
