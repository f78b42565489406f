"""One queue, several people: what the embedded server gives each of them, as Argilla's page asks for it."""

from collections.abc import Sequence
from typing import Any

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.embedded import Connection
from benchmarks.annotating import HARDEST_FIRST, PENDING, Page
from kinds.single_label import QUESTION
from tests.argilla_setup.people import Person, a_record, a_task, unique

ALL = [f"i{number:02d}" for number in range(30)]  # the hardest first


@pytest.fixture(scope="module")
def shared(embedded: Connection) -> tuple[ArgillaDesk, Person, Person]:
    """A desk for the tests of this module, and two people of its workspace; each test publishes items of its own."""
    desk = ArgillaDesk(embedded.url, embedded.api_key, a_task(unique("queue")))
    desk.publish([a_record("first")])
    return desk, Person.joins(desk), Person.joins(desk)


def published(shared: tuple[ArgillaDesk, Person, Person], min_submitted: int = 1, count: int = 30) -> ArgillaDesk:
    """A queue of thirty (or `count`) on a dataset of its own."""
    old = shared[0].api
    desk = ArgillaDesk(old.url, old.api_key, a_task(unique("queue"), min_submitted=min_submitted))
    desk.publish([a_record(item, uncertainty=1 - place / 100) for place, item in enumerate(ALL[:count])])
    return desk


def page_of(
    desk: ArgillaDesk,
    person: Person,
    offset: int = 0,
    limit: int = 10,
    sort: Sequence[Any] = HARDEST_FIRST,
    **body: Any,
) -> list[str]:
    path = f"/me/datasets/{desk.dataset_id()}/records/search"
    body = {"filters": {"and": PENDING}, **({"sort": list(sort)} if sort else {}), **body}
    found = person.api.call("POST", path, doing="testing", body=body, offset=offset, limit=limit)
    return [hit["record"]["external_id"] for hit in found["items"]]


def answers(desk: ArgillaDesk, person: Person, item: str, status: str = "submitted") -> None:
    Person(desk, person.username, person.api).answers(item, "billing" if status == "submitted" else None, status)


def test_two_people_get_the_hardest_records_that_the_other_has_not(shared: tuple[ArgillaDesk, Person, Person]) -> None:
    """The order stays hardest first, nothing is served twice, a reload shows the same, and the owner's own reading all."""
    desk, (ann, ben) = published(shared), shared[1:]
    assert page_of(desk, ann) == ALL[:10]
    assert page_of(desk, ben) == ALL[10:20]
    assert page_of(desk, ann) == ALL[:10]
    for item in ALL[:4]:
        answers(desk, ann, item)
    assert page_of(desk, ann, offset=6) == ALL[20:30]  # as the page does: six are left, it asks for what follows
    assert page_of(desk, ann) == [*ALL[4:10], *ALL[20:24]]
    assert page_of(desk, ben) == ALL[10:20]
    assert len(desk.open()) == 26


def test_what_one_passes_the_other_gets_and_what_is_answered_nobody(shared: tuple[ArgillaDesk, Person, Person]) -> None:
    """A pass frees the record for others; an answered one is in nobody's queue; another order is another queue."""
    desk, (ann, ben) = published(shared), shared[1:]
    assert page_of(desk, ann) == ALL[:10]
    answers(desk, ann, ALL[0])
    answers(desk, ann, ALL[1], status="discarded")
    assert page_of(desk, ben) == [ALL[1], *ALL[10:19]]
    assert page_of(desk, ann, sort=[]) == [*ALL[2:10], ALL[19], ALL[20]]
    rising = [{**HARDEST_FIRST[0], "order": "asc"}]
    assert page_of(desk, ann, sort=rising) == ALL[:19:-1]
    assert page_of(desk, ben)[0] == ALL[1]


def test_a_record_that_needs_two_answers_is_held_by_two(shared: tuple[ArgillaDesk, Person, Person]) -> None:
    """Two people get the same records, a third the next ones; once one has answered, one place is left."""
    desk, (ann, ben) = published(shared, min_submitted=2), shared[1:]
    third = Person(desk, "owner", desk.api)
    assert page_of(desk, ann) == page_of(desk, ben) == ALL[:10]
    assert page_of(desk, third) == ALL[10:20]
    answers(desk, ann, ALL[0])
    assert page_of(desk, third) == ALL[10:20]
    answers(desk, ben, ALL[0])
    assert ALL[0] not in page_of(desk, ann)


def test_similar_records_are_those_that_the_other_has_not(shared: tuple[ArgillaDesk, Person, Person]) -> None:
    """What is found by likeness is held back and held like any queue."""
    old, ann, ben = shared
    desk = ArgillaDesk(old.api.url, old.api.api_key, a_task(unique("similar")))
    desk.publish([a_record(item, vector=(1.0, place / 10)) for place, item in enumerate(ALL[:12])])
    path = f"/datasets/{desk.dataset_id()}/vectors-settings"
    (setting,) = desk.api.call("GET", path, doing="testing")["items"]
    likeness: Any = {"vector": {"name": setting["name"], "value": [1.0, 0.0]}}
    assert page_of(desk, ann, sort=[], limit=4, query=likeness) == ALL[:4]
    assert page_of(desk, ben, sort=[], limit=4, query=likeness) == ALL[4:8]
    assert page_of(desk, ann, sort=[], limit=4, query=likeness) == ALL[:4]


def test_programs_that_read_much_hold_nothing(shared: tuple[ArgillaDesk, Person, Person]) -> None:
    """More than a page of Argilla at once is no person's queue, and what is not pending is no queue at all."""
    desk, (ann, ben) = published(shared), shared[1:]
    assert page_of(desk, ann, limit=500) == ALL
    assert page_of(desk, ann, filters={"and": PENDING[1:]}) == ALL[:10]
    assert page_of(desk, ben) == ALL[:10]


def test_people_who_act_as_the_page_does_answer_each_record_once(
    shared: tuple[ArgillaDesk, Person, Person],
) -> None:
    """They take turns over a whole batch, each with what their page fetched ahead; no record is answered twice."""
    desk = published(shared, count=12)
    dataset_id = str(desk.dataset_id())
    people = [Person(desk, "owner", desk.api), *shared[1:]]
    pages = [Page(person.api, dataset_id, lambda _item: {QUESTION: {"value": "billing"}}) for person in people]
    there = [page.load() for page in pages]
    for _ in range(12):
        there = [page.submit() if on else page.load() for page, on in zip(pages, there, strict=True)]
    assert not any(page.errors for page in pages)
    assert sum(len(page.acknowledged) for page in pages) == 12
    assert desk.waiting() == 0
