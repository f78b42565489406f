"""How likely each answer is after each prompt, under a language model of this machine, exactly and without sampling.

The log-likelihood of an answer is the sum over its tokens, from the first that any answer to the same question could
change. Prompt and answer are cut into tokens jointly. What all prompts begin with is read once; of each item the rest
and all answers are one tree, which a causal model reads in one forward. Answers of a single token add no node to that
tree. A seq2seq model encodes each prompt once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.features import device, length_batches
from trainer.likelihood_forward import prefix_cache, row_scores, seq2seq_scores, tree_scores
from trainer.likelihood_models import LocalModel
from trainer.likelihood_trie import Trie, common_length, shared, trie_of

NODES = 512  # of trees in one forward on a CPU
GPU_NODES = 8192
SAME_TOKENS = 8  # before the cut between prompt and answer: where they are the same, the cut is


@dataclass(frozen=True, slots=True)
class Options:
    """What every item is asked: each of the q `tails` ends a message, and is answered by one of the a `answers`.

    `end` scores the end of an answer too; it is needed where one answer may begin like another.
    """

    answers: tuple[str, ...]
    tails: tuple[str, ...] = ("",)
    end: bool = False


@dataclass(frozen=True, slots=True)
class _Ending:
    """One tail with one answer as tokens: `dropped` tokens of the stem give way to `tokens`; `start` is where the
    answer's own begin, counted from the stem's end.
    """

    dropped: int
    tokens: tuple[int, ...]
    start: int


@dataclass(slots=True, eq=False)
class Scorer:
    """One question put to many items. The common beginning is kept from call to call."""

    local: LocalModel
    system: str
    options: Options
    _prefix: list[int] | None = None
    _cache: Any = None
    _stem: list[int] = field(default_factory=list)
    _rests: list[str] = field(default_factory=list)
    _endings: list[_Ending] = field(default_factory=list)
    _lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def scores(self, users: Sequence[str], *, told: Callable[[int], None] | None = None) -> NDArray[np.float64]:
        """The log p (n, q, a) of each answer to each tail after each of `users`; nan where the model cannot hold the prompt.

        `told` hears how many of them are done.
        """
        if not users:
            return np.zeros((0, len(self.options.tails), len(self.options.answers)))
        ask = self._seq2seq if self.local.way == "seq2seq" else self._causal
        return ask(users, told or (lambda _: None)).reshape(
            len(users), len(self.options.tails), len(self.options.answers)
        )

    def fits(self, user: str) -> bool:
        """Whether the model can hold this message with any tail and answer."""
        longest = self.local.prompt(self.system, user + max(self.options.tails, key=len))
        room = self.local.longest_tokens - max(len(answer.encode()) for answer in self.options.answers) - 2
        # A token is at least a byte, so that only long messages are cut for this.
        return len(longest.encode()) < room or len(self.local.cut(longest)) <= room

    def answer_tokens(self) -> NDArray[np.int64]:
        """(q * a,): how many tokens of each answer count. Known once something was scored."""
        return self._lengths

    # -- causal models

    def _causal(self, users: Sequence[str], told: Callable[[int], None]) -> NDArray[np.float64]:
        if not self._endings:
            self._learn_endings(users[0])
        asked = [self._sequences(user) for user in users]
        out = np.full((len(users), len(self._endings)), np.nan)
        fits = [n for n, (all_of, _) in enumerate(asked) if max(map(len, all_of)) <= self.local.longest_tokens]
        if not fits:
            return out
        self._read_prefix([asked[n] for n in fits])
        read = len(self._prefix or ())
        tries = {n: trie_of([s[read:] for s in asked[n][0]], [s - read for s in asked[n][1]]) for n in fits}
        done = len(users) - len(fits)
        for group in _packed(fits, tries, 1 if self.local.way == "rows" else _room(NODES, GPU_NODES)):
            found = (
                [row_scores(self.local.model, self._prefix or (), tries[n]) for n in group]
                if self.local.way == "rows"
                else tree_scores(self.local.model, self._cache, read, [tries[n] for n in group])
            )
            for n, edges in zip(group, found, strict=True):
                out[n] = tries[n].sums(edges)
            done += len(group)
            told(done)
        return out

    def _read_prefix(self, asked: Sequence[tuple[list[list[int]], list[int]]]) -> None:
        """Read what all sequences begin with, or cut what was read before down to it; the answer's own stays out."""
        starts = min(min(start) for _, start in asked)
        ends = [shared(sequences) for sequences, _ in asked]
        common = shared([*ends, self._prefix] if self._prefix is not None else ends)[: starts - 1]
        if common != self._prefix:
            self._prefix = common
            self._cache = None if self.local.way == "rows" else prefix_cache(self.local.model, common)

    def _learn_endings(self, user: str) -> None:
        """How tails and answers are cut after a message. Done once: the stem before them ends alike for every item."""
        prompts = [self.local.prompt(self.system, user + tail) for tail in self.options.tails]
        common = prompts[0][: common_length(prompts)]
        self._rests = [prompt[len(common) :] for prompt in prompts]
        self._stem = self.local.cut(common)
        for tokens, start in zip(*self._jointly(common), strict=True):
            kept = len(shared([self._stem, tokens]))
            dropped = len(self._stem) - kept
            self._endings.append(_Ending(dropped, tuple(tokens[kept:]), start - len(self._stem)))
        self._lengths = np.array([len(e.tokens) - e.dropped - e.start for e in self._endings])

    def _jointly(self, stem: str) -> tuple[list[list[int]], list[int]]:
        """The tokens of a stem with each tail and answer, cut as one text, and where each answer's own begin.

        These begin at one place for all answers to a tail: where one merges with the prompt's last token, that token
        counts for all.
        """
        sequences, starts = [], []
        for rest in self._rests:
            joint = [
                self.local.ended(stem + rest + self.local.answer(answer), end=self.options.end)
                for answer in self.options.answers
            ]
            start = len(shared([self.local.cut(stem + rest), *joint]))
            sequences += joint
            starts += [start] * len(joint)
        return sequences, starts

    def _sequences(self, user: str) -> tuple[list[list[int]], list[int]]:
        """`_jointly` for one message; where its stem ends as the first one's did, the tokens behind it are known."""
        text = self.local.prompt(self.system, user + self.options.tails[0]).removesuffix(self._rests[0])
        stem = self.local.cut(text)
        same = max(ending.dropped for ending in self._endings) + SAME_TOKENS
        if stem[-same:] != self._stem[-same:]:
            return self._jointly(text)
        sequences = [[*stem[: len(stem) - ending.dropped], *ending.tokens] for ending in self._endings]
        return sequences, [len(stem) + ending.start for ending in self._endings]

    # -- seq2seq models

    def _seq2seq(self, users: Sequence[str], told: Callable[[int], None]) -> NDArray[np.float64]:
        local, tails = self.local, self.options.tails
        targets = [local.target(answer, end=self.options.end) for answer in self.options.answers]
        start = min(start for _, start in targets)
        trie = trie_of([tokens for tokens, _ in targets], [start] * len(targets))
        self._lengths = np.tile([len(tokens) - start for tokens, _ in targets], len(tails))
        inputs = [local.cut(local.prompt(self.system, user + tail)) for user in users for tail in tails]
        out = np.full((len(inputs), len(targets)), np.nan)
        lengths = np.array([len(tokens) for tokens in inputs])
        fits = np.flatnonzero(lengths <= local.longest_tokens)
        done = len(inputs) - len(fits)
        for group in length_batches(lengths[fits], _room(NODES, GPU_NODES) * 4):
            places = fits[group]
            for place, edges in zip(
                places, seq2seq_scores(local.model, [inputs[n] for n in places], trie), strict=True
            ):
                out[place] = trie.sums(edges)
            done += len(group)
            told(done // len(tails))
        return out


def length_bias(log_p: NDArray[np.float64], tokens: NDArray[np.int64]) -> float:
    """How answers' log-likelihoods (n, a) go with their numbers of tokens (a,): Pearson's r of the means, 0 where all
    are of one length. Far below 0 the model prefers short names, not fitting ones.
    """
    means = np.nanmean(log_p, axis=0) if np.isfinite(log_p).any() else np.zeros(len(tokens))
    if np.ptp(tokens) == 0 or np.ptp(means) == 0:
        return 0.0
    return float(np.corrcoef(means, tokens)[0, 1])


def _packed(order: Sequence[int], tries: dict[int, Trie], room: int) -> list[list[int]]:
    """Neighbours whose trees together have at most `room` nodes; a larger one goes alone."""
    groups: list[list[int]] = []
    size = 0
    for n in order:
        if not groups or size + len(tries[n]) > room:
            groups.append([])
            size = 0
        groups[-1].append(n)
        size += len(tries[n])
    return groups


def _room(cpu: int, gpu: int) -> int:
    return cpu if device().type == "cpu" else gpu
