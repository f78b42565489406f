"""What is asked again of people: a refused suggestion, a surprising answer, opinions that differ."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from loop.asked import Asked, is_measured
from loop.kept import belief_before
from loop.project import Project
from loop.view import Corpus, agreed
from loop.weighed import SETTLED, disputed, weighed
from selector.follow_up import adjudications, probability_of, second_opinions
from stillhouse.probabilities import Floats
from stillhouse.records import Answer, Asking, Pick, Suggestion

ROUNDING = 1e-9  # a share of a batch may miss its whole number by this much


def verifications(project: Project, picks: Sequence[Pick], suggestions: Mapping[str, Suggestion]) -> list[Asking]:
    """Targeted picks of whose suggestion so much is certain that yes or no will do; never any that measures."""
    least = project.task.desk.verify_from
    if least is None:
        return []
    sure = [
        pick for pick in picks if not is_measured(pick) and not pick.blind and suggestions[pick.item_id].score >= least
    ]
    return [Asking(pick.item_id, "verify", pick.round, pick.reason, pick.score) for pick in sure]


def follow_ups(project: Project, corpus: Corpus, asked: Asked, denied: Iterable[str]) -> list[Asking]:
    """What the answers so far ask for that is not asked yet: the same answers, the same follow-ups."""
    return [
        *_labels_after_a_no(asked, denied),
        *_seconds(project, corpus, asked),
        *_decisions(project, corpus, asked),
    ]


def _labels_after_a_no(asked: Asked, denied: Iterable[str]) -> list[Asking]:
    """A refused suggestion says what the label is not; so does a pass, as far as a label may still be known."""
    refused = set(denied) | {
        item_id
        for item_id, said in asked.said.items()
        if all(answer.way == "verify" and answer.label is None for answer in said)
    }
    due = [item_id for item_id in refused if asked.ways(item_id) == ("verify",) and item_id in asked.pick_of]
    return [
        Asking(item_id, "label", pick.round, "somebody said no to what was suggested", pick.score)
        for item_id in sorted(due)
        for pick in [asked.pick_of[item_id]]
    ]


def _seconds(project: Project, corpus: Corpus, asked: Asked) -> list[Asking]:
    settings, found = project.task.desk, list[Asking]()
    if not settings.second_opinions:
        return found
    for number, alone in _answered_once(asked):
        ids, probability = [answer.item_id for answer in alone], _probabilities(project, corpus, alone, number)
        measured = np.array([is_measured(asked.pick_of[item_id]) for item_id in ids])
        rows = second_opinions(
            ids,
            probability,
            measured,
            below=settings.second_below,
            # Which of the targeted ones matter most is known once they are in; the random share needs no ranking.
            most=_still_to_ask(project, asked, number) if asked.answered(number) >= settings.enough else 0,
        )
        found += [
            Asking(
                ids[row],
                "second",
                number,
                "the first answer is not what was expected",
                float(1.0 - probability[row]),
                not_by=(alone[row].annotator,),
            )
            for row in rows
        ]
    return found


def _still_to_ask(project: Project, asked: Asked, number: int) -> int:
    """How many second opinions on targeted items the round has left, and the budget of people's answers."""
    picks, budget = asked.of_round(number), project.task.budget.human_labels
    had = sum("second" in asked.ways(pick.item_id) for pick in picks if not is_measured(pick))
    share = int(project.task.desk.second_opinions * len(picks) + ROUNDING) - had
    return share if budget is None else min(share, budget - len(asked.said) - asked.checks)


def _answered_once(asked: Asked) -> list[tuple[int, list[Answer]]]:
    """By round the only answer of each item that has one and was not asked for another opinion.

    Nothing of the time before labels changed: what was believed then is said in other labels.
    """
    found = []
    for number in sorted({pick.round for pick in asked.picks if pick.round > asked.relabelled}):
        alone = []
        for pick in asked.of_round(number):
            said = [answer for answer in asked.said.get(pick.item_id, ()) if answer.label is not None]
            if len(said) == 1 and not {"second", "adjudicate"} & set(asked.ways(pick.item_id)):
                alone.append(said[0])
        if alone:
            found.append((number, alone))
    return found


def _probabilities(project: Project, corpus: Corpus, answers: Sequence[Answer], number: int) -> Floats:
    """(len(answers),): how probable each was to the belief from which the round's batch was chosen."""
    believed, kind, layout = belief_before(project, number), corpus.kind, corpus.layout
    found = np.empty(len(answers))
    for row, answer in enumerate(answers):
        at = corpus.number[answer.item_id]
        rows = layout.rows(at)
        assert answer.label is not None
        said = kind.encode(corpus.items[at], layout.spans[rows], answer.label)
        found[row] = probability_of(said, believed[rows], kind.width)
    return found


def _decisions(project: Project, corpus: Corpus, asked: Asked) -> list[Asking]:
    undecided = _undecided(project, corpus, asked)
    due = [item_id for item_id in undecided if not any(asked.is_open(item_id, way) for way in asked.ways(item_id))]
    leading = np.array([undecided[item_id] for item_id in due])
    measured = np.array([is_measured(asked.pick_of[item_id]) for item_id in due], dtype=bool)
    return [
        Asking(
            due[row],
            "adjudicate",
            asked.pick_of[due[row]].round,
            "people differ",
            float(np.nan_to_num(1.0 - leading[row], nan=1.0)),
        )
        for row in adjudications(due, leading, measured)
    ]


def _undecided(project: Project, corpus: Corpus, asked: Asked) -> dict[str, float]:
    """Items whose answers settle nothing and of which nobody was asked to decide, though somebody could be: a tie, or a
    majority that is not believed. With each the probability of its likeliest value, nan where labels have changed since.
    """
    if not project.task.desk.adjudicators:
        return {}
    _, ties = agreed(asked.answers)
    differ = [
        item_id
        for item_id in sorted(disputed(asked.answers))
        if item_id in asked.pick_of and "adjudicate" not in asked.ways(item_id)
    ]
    leading = _leading(project, corpus, asked, differ)
    return {item_id: sure for item_id, sure in leading.items() if item_id in ties or sure < SETTLED}


def _leading(project: Project, corpus: Corpus, asked: Asked, differ: Sequence[str]) -> dict[str, float]:
    """By item the probability of the likeliest value, from who said what and the belief before the round."""
    found = dict.fromkeys(differ, np.nan)
    for number in sorted({asked.pick_of[item_id].round for item_id in differ}):
        if number <= asked.relabelled:
            continue
        of_round = {pick.item_id for pick in asked.of_round(number)}
        people = weighed(
            corpus.kind,
            corpus.items,
            corpus.layout,
            [answer for answer in asked.answers if answer.item_id in of_round],
            belief_before(project, number),
            project.task.stop.confidence,
        )
        found |= {item_id: people.probability[item_id] for item_id in differ if item_id in people.probability}
    return found


def unchecked(project: Project, corpus: Corpus, asked: Asked) -> frozenset[str]:
    """Items whose answer was to be asked again and was not, or not yet.

    A figure must not take their answers for what people would say in the end: elsewhere such answers were checked.
    """
    settings, found = project.task.desk, set(_undecided(project, corpus, asked))
    for number, alone in _answered_once(asked) if settings.second_opinions else ():
        probability = _probabilities(project, corpus, alone, number)
        found |= {a.item_id for a, p in zip(alone, probability, strict=True) if p < settings.second_below}
    open_still = {item for number in {p.round for p in asked.picks} for item, _ in asked.open_in(number)}
    return frozenset(found | open_still)
