"""The pool of a rehearsed run as the loop sees it, with what its rehearsed experts know: for simulations over seeds."""

from dataclasses import dataclass
from pathlib import Path

from kinds.kind import Layout
from loop.learn import base_of
from loop.project import Project, project_of, read_known_labels
from loop.view import Corpus, opinion_of_votes, votes_of
from serving.student import inputs_of
from stillhouse.records import Value
from stillhouse.store import Store
from trainer.features import embed_cached


@dataclass(frozen=True, eq=False)
class RehearsedPool:
    project: Project
    corpus: Corpus
    known: dict[str, Value]


def rehearsed_pool(run: Path) -> RehearsedPool:
    project = project_of(run)
    with Store(run, read_only=True) as store:
        items, votes = tuple(store.items()), store.votes()
    known = read_known_labels(project, items)
    assert known is not None, "a run without rehearsed experts does not know the truth"
    kind = project.kind
    layout = Layout.of(kind, items)
    table = votes_of(project, kind, layout, items, votes)
    how = project.task.student
    features = embed_cached(
        base_of(project), inputs_of(kind, items, layout), project.features, max_tokens=how.max_tokens, threads=1
    ).vectors
    opinion = opinion_of_votes(project, layout, features, table)
    return RehearsedPool(project, Corpus(kind, items, layout, features, features, table, opinion), known)
