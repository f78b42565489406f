"""The search engine of the embedded server, as Argilla's own client and pages use it."""

import math
import os
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.embedded import Connection
from tests.argilla_setup.people import Person, a_record, a_task, unique

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
VECTORS = {
    "east": [2.0, 0.0],
    "north east": [0.1, 0.1],
    "north": [0.0, 5.0],
    "west": [-1.0, 0.0],
    "nowhere": [0.0, 0.0],
}
TEXTS = {
    "refund": "I want a REFUND for my Straße parcel",
    "late": "My parcel is late, ÄRGERLICH!",
    "both": "late parcel, so a refund please",
}


@pytest.fixture(scope="module")
def client(embedded: Connection) -> Any:
    import argilla as rg

    return rg.Argilla(api_url=embedded.url, api_key=embedded.api_key)


@pytest.fixture(scope="module")
def dataset(client: Any) -> Any:
    """Five records with vectors, metadata, suggestions; two of them answered by the owner."""
    import argilla as rg

    if "stillhouse" not in [workspace.name for workspace in client.workspaces]:
        rg.Workspace("stillhouse", client=client).create()
    settings = rg.Settings(
        fields=[rg.TextField("text", client=client)],
        questions=[rg.LabelQuestion("label", labels=["a", "b"], client=client)],
        metadata=[
            rg.TermsMetadataProperty("kind", client=client),
            rg.IntegerMetadataProperty("step", client=client),
            rg.FloatMetadataProperty("doubt", client=client),
        ],
        vectors=[rg.VectorField("place", dimensions=2)],
    )
    made = rg.Dataset(unique("engine"), workspace="stillhouse", settings=settings, client=client).create()
    made.records.log(
        [
            rg.Record(
                id=name,
                fields={"text": f"to the {name}"},
                vectors={"place": vector},
                metadata={"kind": "even" if step % 2 == 0 else "odd", "step": step, "doubt": step / 4},
                suggestions=[rg.Suggestion("label", "ab"[step % 2], score=step / 8, agent=f"agent {step % 2}")],
                responses=[rg.Response("label", "b", user_id=client.me.id, status="submitted")] if step > 2 else [],
            )
            for step, (name, vector) in enumerate(VECTORS.items())
        ]
    )
    return made


def found(dataset: Any, query: Any = None, **options: Any) -> list[str]:
    return [str(record.id) for record in dataset.records(query, **options)]


def searched(dataset: Any, client: Any, **body: Any) -> tuple[list[str], int]:
    """The REST search, which sorts; the client does not. As the pages of Argilla do, for the current user."""
    url = f"/api/v1/me/datasets/{dataset.id}/records/search"
    reply = client.http_client.post(url, json=body)
    assert reply.status_code == 200, reply.text
    return [hit["record"]["external_id"] for hit in reply.json()["items"]], reply.json()["total"]


def test_similar_means_the_angle_and_not_the_distance(dataset: Any) -> None:
    """Cosine similarity, scored (1 + cosine) / 2: a short vector in nearly the same direction comes first."""
    import argilla as rg

    hits = list(dataset.records(rg.Query(similar=rg.Similar("place", [9.0, 0.0])), limit=5))
    scores = {str(record.id): score for record, score in hits}
    expected = {"east": 1.0, "north east": (1 + math.sqrt(0.5)) / 2, "north": 0.5, "nowhere": 0.5, "west": 0.0}
    assert scores == pytest.approx(expected, abs=1e-6)
    assert [str(record.id) for record, _ in hits][:2] == ["east", "north east"]


def test_similar_to_a_record_leaves_that_record_out_and_obeys_filters(dataset: Any) -> None:
    """Most and least similar, within what filters and words allow."""
    import argilla as rg

    east = next(record for record in dataset.records() if str(record.id) == "east")
    near = list(dataset.records(rg.Query(similar=rg.Similar("place", east)), limit=2))
    assert [str(record.id) for record, _ in near] == ["north east", "north"]
    far = rg.Query(similar=rg.Similar("place", east, most_similar=False))
    assert str(next(iter(dataset.records(far, limit=1)))[0].id) == "west"
    odd = rg.Query(query="to", similar=rg.Similar("place", east), filter=rg.Filter([("metadata.kind", "==", "odd")]))
    assert [str(record.id) for record, _ in dataset.records(odd, limit=5)] == ["north east", "west"]


def test_a_new_vector_is_found_at_once(dataset: Any, client: Any) -> None:
    """The matrix in memory is dropped when the table has changed."""
    import argilla as rg

    made = rg.Dataset(unique("fresh"), workspace="stillhouse", settings=dataset.settings, client=client).create()
    for name in ("first", "second"):
        made.records.log([rg.Record(id=name, fields={"text": name}, vectors={"place": [1.0, 0.0]})])
        similar = rg.Query(similar=rg.Similar("place", [1.0, 0.0]))
        assert name in [str(record.id) for record, _ in made.records(similar, limit=5)]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([("metadata.kind", "==", "odd")], ["north east", "west"]),
        ([("metadata.step", ">=", 3)], ["west", "nowhere"]),
        ([("metadata.doubt", ">=", 0.25), ("metadata.doubt", "<=", 0.5)], ["north east", "north"]),
        ([("label.suggestion", "==", "b")], ["north east", "west"]),
        ([("label.suggestion", "in", ["a", "b"]), ("metadata.step", "<=", 0)], ["east"]),
        ([("label.score", ">=", 0.375)], ["west", "nowhere"]),
        ([("label.agent", "==", "agent 1")], ["north east", "west"]),
        ([("response.status", "==", "submitted")], ["west", "nowhere"]),
        ([("response.status", "==", "pending")], ["east", "north east", "north"]),
        ([("label.response", "==", "b")], ["west", "nowhere"]),
        ([("status", "==", "completed")], ["west", "nowhere"]),
        ([("id", "in", ["east", "west"])], ["east", "west"]),
        ([("updated_at", ">=", "2000-01-01T00:00:00Z"), ("metadata.step", "<=", 0)], ["east"]),
        ([("updated_at", "<=", "2000-01-01T00:00:00+02:00")], []),
    ],
)
def test_every_filter_the_client_offers(dataset: Any, conditions: list[Any], expected: list[str]) -> None:
    """Metadata, suggestions, responses, status, ids and times; several of them must all hold."""
    import argilla as rg

    assert found(dataset, rg.Query(filter=rg.Filter(conditions))) == expected


METADATA, RECORD, SUGGESTION = ({"entity": name} for name in ("metadata", "record", "suggestion"))
RAW: Sequence[tuple[dict[str, Any], list[str]]] = [
    ({"scope": {**METADATA, "metadata_property": "step"}, "values": ["2", "3.0"]}, ["north", "west"]),
    ({"scope": {**METADATA, "metadata_property": "step"}, "ge": "3"}, ["west", "nowhere"]),
    ({"scope": {**METADATA, "metadata_property": "kind"}, "ge": 1}, []),
    ({"scope": {**METADATA, "metadata_property": "kind"}, "ge": "f"}, ["north east", "west"]),
    ({"scope": {**RECORD, "property": "id"}, "values": ["east", "00000000-0000-0000-0000-000000000000"]}, []),
    ({"scope": {**RECORD, "property": "external_id"}, "ge": "north", "le": "o"}, ["north east", "north", "nowhere"]),
    ({"scope": {**RECORD, "property": "status"}, "ge": "d"}, ["east", "north east", "north"]),
    ({"scope": {**RECORD, "property": "inserted_at"}, "ge": 4e12}, []),
    ({"scope": {**RECORD, "property": "inserted_at"}, "le": "2100-01-01"}, list(VECTORS)),
    ({"scope": {**SUGGESTION, "question": "label", "property": None}, "values": ["b"]}, ["north east", "west"]),
    ({"scope": {**SUGGESTION, "question": "label", "property": "type"}, "values": ["human"]}, []),
    ({"scope": {"entity": "response", "question": "label"}, "values": ["b"]}, ["west", "nowhere"]),
    ({"scope": {"entity": "response", "property": "status"}, "values": ["pending", "draft"]}, list(VECTORS)[:3]),
]


@pytest.mark.parametrize(("given", "expected"), RAW)
def test_filters_that_only_the_api_offers(
    dataset: Any, client: Any, given: dict[str, Any], expected: list[str]
) -> None:
    """Numbers as text, ranges of text, moments in two forms, ids that are none: each finds what it says, or nothing."""
    test = {"type": "terms" if "values" in given else "range", **given}
    assert searched(dataset, client, filters={"and": [test]}) == (expected, len(expected))


@pytest.mark.parametrize(
    "body",
    [
        {"filters": {"and": [{"type": "range", "scope": {**RECORD, "property": "updated_at"}, "ge": "yesterday"}]}},
        {"filters": {"and": [{"type": "terms", "scope": {"entity": "response"}, "values": ["b"]}]}},
        {"query": {"vector": {"name": "place", "value": [1.0, 2.0, 3.0]}}},
    ],
)
def test_what_nobody_can_search_for_is_a_mistake_of_the_caller(dataset: Any, client: Any, body: Any) -> None:
    """422 and words, not a failure of the server."""
    reply = client.http_client.post(f"/api/v1/me/datasets/{dataset.id}/records/search", json=body)
    assert reply.status_code == 422
    assert len(reply.json()["detail"]) > 20


def test_lists_sort_by_their_first_and_last_and_pictures_are_no_words(client: Any) -> None:
    """Rising by the least value, falling by the greatest; a word that stands in a picture's code is not found there."""
    import argilla as rg

    settings = rg.Settings(
        fields=[rg.TextField("text", client=client), rg.ImageField("image", required=False)],
        questions=[rg.LabelQuestion("label", labels=["a", "b"], client=client)],
        metadata=[rg.TermsMetadataProperty("kinds", client=client)],
    )
    made = rg.Dataset(unique("lists"), workspace="stillhouse", settings=settings, client=client).create()
    given = {"wide": ["a", "z"], "mid": ["m"], "low": ["b", "c"], "none": None}
    picture = "data:image/png;base64,refund="
    made.records.log(
        [
            rg.Record(id=name, fields={"text": "hello", "image": picture}, metadata={"kinds": kinds} if kinds else {})
            for name, kinds in given.items()
        ]
    )
    for order, expected in (("asc", ["wide", "low", "mid", "none"]), ("desc", ["wide", "mid", "low", "none"])):
        sort = [{"scope": {**METADATA, "metadata_property": "kinds"}, "order": order}]
        assert searched(made, client, sort=sort)[0] == expected
    assert searched(made, client, query={"text": {"q": "refund"}})[1] == 0
    assert searched(made, client, query={"text": {"q": "hello"}})[1] == 4


SORTS: Sequence[tuple[dict[str, str], list[str]]] = [
    ({"entity": "metadata", "metadata_property": "doubt"}, ["nowhere", "west", "north", "north east", "east"]),
    ({"entity": "suggestion", "question": "label", "property": "score"}, ["nowhere", "west"]),
    ({"entity": "suggestion", "question": "label", "property": "value"}, ["north east", "west", "east"]),
    ({"entity": "suggestion", "question": "label", "property": "agent"}, ["north east", "west", "east"]),
    ({"entity": "response", "question": "label"}, ["west", "nowhere"]),
    ({"entity": "response", "property": "status"}, ["west", "nowhere"]),
    ({"entity": "record", "property": "inserted_at"}, ["nowhere", "west", "north", "north east", "east"]),
    ({"entity": "record", "property": "status"}, ["east", "north east", "north"]),
    ({"entity": "record", "property": "external_id"}, ["west", "nowhere", "north east", "north", "east"]),
]


@pytest.mark.parametrize(("scope", "expected"), SORTS)
def test_every_order_the_pages_offer(dataset: Any, client: Any, scope: dict[str, str], expected: list[str]) -> None:
    """Falling order by any scope; ties by age; records without the value come last."""
    ids, total = searched(dataset, client, sort=[{"scope": scope, "order": "desc"}])
    assert (ids[: len(expected)], total) == (expected, 5)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("refund", ["refund", "both"]),
        ("Refund parcel", ["refund", "both"]),
        ('"parcel is late"', ["late"]),
        ("parcel -late", ["refund"]),
        ("ärgerlich", ["late"]),
        ("STRASSE", ["refund"]),
        ("ärgerlich | strasse", ["refund", "late"]),
        ("ref*", ["refund", "both"]),
        ("100% _ ' \" \\", []),
        ("nothing like it", []),
    ],
)
def test_words_are_found_in_any_case_of_any_alphabet(
    texts: ArgillaDesk, client: Any, query: str, expected: list[str]
) -> None:
    """All words must occur; minus excludes, quotes keep together, a bar means or; odd signs break nothing."""
    dataset = client.datasets(id=texts.dataset_id())
    assert searched(dataset, client, query={"text": {"q": query}})[0] == expected
    assert searched(dataset, client, query={"text": {"q": query, "field": "text"}})[0] == expected


@pytest.fixture(scope="module")
def texts(embedded: Connection) -> ArgillaDesk:
    desk = ArgillaDesk(embedded.url, embedded.api_key, a_task(unique("texts")))
    desk.publish([a_record(name, text, uncertainty=len(text) / 100) for name, text in TEXTS.items()])
    return desk


def test_pages_of_a_sorted_queue_neither_repeat_nor_skip(embedded_desk: ArgillaDesk, client: Any) -> None:
    """With equal sort values the order is still total, so paging through it sees every record once."""
    embedded_desk.publish([a_record(f"i{n:02d}", uncertainty=0.5) for n in range(25)])
    url = f"/api/v1/me/datasets/{embedded_desk.dataset_id()}/records/search"
    sort = [{"scope": {"entity": "metadata", "metadata_property": "uncertainty"}, "order": "desc"}]
    seen: list[str] = []
    for offset in range(0, 25, 10):
        page = client.http_client.post(url, json={"sort": sort}, params={"offset": offset, "limit": 10}).json()
        seen += [hit["record"]["external_id"] for hit in page["items"]]
        assert page["total"] == 25
    assert sorted(seen) == [f"i{n:02d}" for n in range(25)]


def test_progress_counts_the_team_and_each_person(embedded_desk: ArgillaDesk) -> None:
    """Completed and pending of the dataset; submitted, discarded, draft and pending of the one who asks."""
    embedded_desk.publish([a_record(f"i{n}") for n in range(5)])
    person, other = Person.joins(embedded_desk), Person.joins(embedded_desk)
    person.answers("i0", "billing")
    person.answers("i1", None, status="discarded")
    person.answers("i2", "billing", status="draft")
    other.answers("i3", "returns")
    dataset_id = embedded_desk.dataset_id()
    team = embedded_desk.api.call("GET", f"/datasets/{dataset_id}/progress", doing="testing")
    assert (team["total"], team["completed"], team["pending"]) == (5, 2, 3)
    own = person.api.call("GET", f"/me/datasets/{dataset_id}/metrics", doing="testing")
    assert own["responses"] == {"total": 5, "submitted": 1, "discarded": 1, "draft": 1, "pending": 2}


def test_the_ranges_of_metadata_are_known(dataset: Any, client: Any) -> None:
    """The filter pane of the pages shows terms with their counts, and lowest and highest numbers."""
    properties = client.http_client.get(f"/api/v1/me/datasets/{dataset.id}/metadata-properties").json()["items"]
    ids = {each["name"]: each["id"] for each in properties}
    metrics = {
        name: client.http_client.get(f"/api/v1/metadata-properties/{each}/metrics").json() for name, each in ids.items()
    }
    assert metrics["kind"]["values"] == [{"term": "even", "count": 3}, {"term": "odd", "count": 2}]
    assert (metrics["step"]["min"], metrics["step"]["max"]) == (0, 4)
    assert (metrics["doubt"]["min"], metrics["doubt"]["max"]) == (0.0, 1.0)


def test_the_server_answers_others_while_it_compares_vectors(embedded: Connection, client: Any, dataset: Any) -> None:
    """Loading and comparing vectors happens off the event loop: a status request is not held up behind it."""
    import argilla as rg

    wide = rg.Settings(
        fields=[rg.TextField("text", client=client)],
        questions=[rg.LabelQuestion("label", labels=["a", "b"], client=client)],
        vectors=[rg.VectorField("wide", dimensions=512)],
    )
    made = rg.Dataset(unique("wide"), workspace="stillhouse", settings=wide, client=client).create()
    vector = [0.25] * 512
    made.records.log([rg.Record(fields={"text": str(n)}, vectors={"wide": vector}) for n in range(400)])
    with ThreadPoolExecutor(1) as pool:
        search = {"query": {"vector": {"name": "wide", "value": vector}}}
        url = f"/api/v1/datasets/{made.id}/records/search"
        comparing = pool.submit(client.http_client.post, url, json=search)
        slowest_s = 0.0
        while not comparing.done():
            start = time.monotonic()
            client.http_client.get("/api/v1/version")
            slowest_s = max(slowest_s, time.monotonic() - start)
        assert comparing.result().json()["total"] == 50
    assert slowest_s < 2


def test_answers_are_looked_up_by_their_record_and_not_by_their_status(embedded: Connection, home: Path) -> None:
    """Left to itself SQLite reads all submitted answers for each record: minutes where there are 20,000."""
    question = "EXPLAIN QUERY PLAN SELECT * FROM responses WHERE record_id = '' AND status = 'submitted'"
    with closing(sqlite3.connect(home / "argilla.db")) as db:
        (plan,) = db.execute(question).fetchall()
    assert "ix_responses_record_id" in plan[3]


def test_the_log_has_no_warning_of_the_database(embedded: Connection, dataset: Any, home: Path) -> None:
    """None of the searches above joined tables without a condition (SQLAlchemy calls that a cartesian product)."""
    log = (home / "server.log").read_text()
    assert "SAWarning" not in log
    assert "Traceback" not in log
