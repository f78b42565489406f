"""The example corpus: recorded teachers, known labels, and texts as simple vectors. What 150 answers are worth."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from consensus.posterior import Answers, believe
from consensus.votes import VoteTable, vote_table
from prompts.labels import spellings
from prompts.parse import parse_verbalised
from selector.batch import choose_batch
from selector.uncertainty import signals
from stillhouse.probabilities import jensen_shannon, margin, one_hot
from stillhouse.records import Vote
from stillhouse.task_file import load_task

FOLDER = Path(__file__).parents[2] / "examples" / "helpdesk"
ANSWERS = 150


@dataclass(frozen=True)
class Helpdesk:
    ids: list[str]
    votes: VoteTable
    text: NDArray[np.float64]
    truth: NDArray[np.int64]

    def delivered(self, rows: NDArray[np.intp]) -> float:
        """Accuracy of the whole pool's labels once experts have answered these rows."""
        rng = np.random.default_rng(0)
        answers = Answers(rows, one_hot(self.truth[rows], self.votes.probs.shape[2]))
        belief = believe(self.votes, self.text, None, answers, folds=3, rng=rng)
        return float((belief.probs.argmax(axis=1) == self.truth).mean())

    def batch(self, seed: int, random_share: float) -> NDArray[np.intp]:
        """150 rows picked by what the teachers alone say."""
        picks = choose_batch(
            self.ids,
            np.ones(len(self.ids), dtype=bool),
            signals(1 - margin(self.votes.pooled()), variants=jensen_shannon(*self.votes.probs)),
            self.text,
            size=ANSWERS,
            random_share=random_share,
            near_duplicate_cosine=0.95,
            round_number=1,
            rng=np.random.default_rng(seed),
        )
        return np.array([self.ids.index(pick.item_id) for pick in picks])


def lines(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


@cache
def helpdesk() -> Helpdesk:
    labels = spellings(load_task(FOLDER / "team.toml").labels)
    pool = lines("pool.jsonl")
    ids = [row["id"] for row in pool]
    votes = []
    for row in lines("replies.jsonl"):
        if row["task"] == "team":
            read = parse_verbalised(json.dumps(row), labels)
            votes.append(
                Vote(row["id"], row["variant"], read.probs, read.residual, read.origin, read.status, "", "", 0.0)
            )
    expert = {row["id"]: row["team"] for row in lines("experts.jsonl")}
    table = vote_table(votes, ids, ["A", "B"], len(labels.names))
    tfidf = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform([row["text"] for row in pool])
    text = TruncatedSVD(100, random_state=0).fit_transform(tfidf)
    text /= np.linalg.norm(text, axis=1, keepdims=True) + 1e-12
    return Helpdesk(ids, table, text, np.array([labels.names.index(expert[name]) for name in ids]))


def test_the_teacher_is_read_on_every_item() -> None:
    """The recording covers the pool, and the teacher alone leaves much to be learned."""
    desk = helpdesk()
    assert desk.votes.usable.mean() > 0.99
    assert 0.5 < (desk.votes.pooled().argmax(axis=1) == desk.truth).mean() < 0.9


def test_150_answers_are_worth_five_points() -> None:
    """Delivered accuracy is at least five points above the teacher's, of which the answers themselves are a part."""
    desk = helpdesk()
    teacher = float((desk.votes.pooled().argmax(axis=1) == desk.truth).mean())
    assert desk.delivered(desk.batch(0, 0.3)) >= teacher + 0.05


def test_a_margin_batch_beats_a_random_one() -> None:
    """Over three seeds, 150 answers where the teachers are unsure deliver more than 150 anywhere."""
    desk = helpdesk()
    targeted = [desk.delivered(desk.batch(seed, 0.0)) for seed in range(3)]
    random = [desk.delivered(desk.batch(seed, 1.0)) for seed in range(3)]
    assert np.mean(targeted) > np.mean(random)
