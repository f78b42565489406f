"""Runs a whole argilla-server from one folder: python launch.py --home DIR --port N, in the server's own environment.

SQLite instead of Postgres, engine.py instead of Elasticsearch, tasks of the event loop instead of Redis workers.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

SQLITE_TIMEOUT_S = 30
MOST_LABELS = 5000  # the stock server stops at 500
JOB_TRIES = 3
LOG = logging.getLogger("stillhouse.argilla")


def configure(home: Path, port: int, secret: str) -> None:
    """The server reads its settings from the environment while it is imported, so this comes before any import."""
    os.environ.update(
        ARGILLA_HOME_PATH=str(home),
        ARGILLA_SEARCH_ENGINE="database",
        ARGILLA_AUTH_SECRET_KEY=secret,
        ARGILLA_CORS_ORIGINS=json.dumps([f"http://127.0.0.1:{port}"]),
        ARGILLA_DATABASE_SQLITE_TIMEOUT=str(SQLITE_TIMEOUT_S),
        ARGILLA_LABEL_SELECTION_OPTIONS_MAX_ITEMS=str(MOST_LABELS),
        ARGILLA_SPAN_OPTIONS_MAX_ITEMS=str(MOST_LABELS),
        ARGILLA_DOCS_ENABLED="false",  # its page loads scripts from outside
        ARGILLA_ENABLE_TELEMETRY="false",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_OFFLINE="1",
    )


def keep_validators() -> None:
    """The stock server builds two pydantic validators anew for every record it takes: a third of all its time."""
    from argilla_server.models import database as models
    from pydantic import TypeAdapter

    built: dict[int, TypeAdapter[Any]] = {}

    def kept(of_type: Any) -> TypeAdapter[Any]:
        if id(of_type) not in built:  # the two types are constants of their module, so their ids stay theirs
            built[id(of_type)] = TypeAdapter(of_type)
        return built[id(of_type)]

    models.TypeAdapter = kept


def build_events_only_for_webhooks() -> None:
    """The stock server reads half a dozen tables for each event before it looks whether a webhook wants to hear it."""
    from argilla_server.bulk import records_bulk
    from argilla_server.contexts import datasets, distribution, records, webhooks

    def when_heard(notify: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def checked(db: Any, event: Any, subject: Any) -> Any:
            return await notify(db, event, subject) if await webhooks.list_enabled_webhooks(db) else []

        return checked

    for module in (records_bulk, datasets, distribution, records):
        for name in ("notify_record_event_v1", "notify_response_event_v1"):
            if hasattr(module, name):
                setattr(module, name, when_heard(getattr(module, name)))


def expect_loose_records() -> None:
    """The stock server builds a record to validate it and throws it away; SQLAlchemy warns that it will not be stored."""
    from sqlalchemy.exc import SAWarning

    warnings.filterwarnings("ignore", message="Object of type <Record> not in session", category=SAWarning)


def run_jobs_inline() -> None:
    """What the stock server hands to Redis runs as a task of the event loop; the Hub jobs say that they are missing."""
    from argilla_server import _app
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.errors.future import UnprocessableEntityError
    from argilla_server.jobs import dataset_jobs, hub_jobs, webhook_jobs
    from argilla_server.models import Webhook

    async def notify(webhook_id: Any, event: str, timestamp: Any, data: dict[str, Any]) -> None:
        async with AsyncSessionLocal() as db:
            webhook = await Webhook.get_or_raise(db, webhook_id)
        # The stock job waits for the receiver on the event loop, which would hold up everybody.
        response = await asyncio.to_thread(webhook_jobs.notify_event, webhook, event, timestamp, data)
        response.raise_for_status()

    def refuse(*_: Any, **__: Any) -> None:
        raise UnprocessableEntityError("the embedded server has no import from or export to the Hub")

    dataset_jobs.update_dataset_records_status_job.delay = in_background(dataset_jobs.update_dataset_records_status_job)
    webhook_jobs.notify_event_job.delay = in_background(notify)
    hub_jobs.import_dataset_from_hub_job.delay = refuse
    hub_jobs.export_dataset_to_hub_job.delay = refuse
    _app.configure_redis = lambda: None


def in_background(job: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., asyncio.Task[None]]:
    running: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    async def tried(*args: Any, **kwargs: Any) -> None:
        for attempt in range(JOB_TRIES):
            try:
                return await job(*args, **kwargs)
            except Exception:
                LOG.exception("background job failed, try %d of %d", attempt + 1, JOB_TRIES)
                await asyncio.sleep(2**attempt)
        return None

    def delay(*args: Any, **kwargs: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(tried(*args, **kwargs))
        running.add(task)
        task.add_done_callback(running.discard)
        return task

    return delay


def check_passwords_aside() -> None:
    """To check one takes half a second on purpose; the stock server spends it on the event loop, where everybody waits."""
    from argilla_server.contexts import accounts

    async def authenticate(db: Any, username: str, password: str) -> Any:
        user = await accounts.get_user_by_username(db, username)
        kept = user.password_hash if user else accounts._DUMMY_HASH  # noqa: SLF001 — so that no name is told by its speed
        fits = await asyncio.to_thread(accounts.verify_password, password, kept)
        return user if fits and user else None

    accounts.authenticate_user = authenticate


def seclude(*, pictures: bool) -> None:
    """Nothing from outside in the pages, a clear word where the disk is full, and no packing of what stays on this machine."""
    from argilla_server import _app
    from argilla_server.api.routes import api_v1
    from brotli_asgi import BrotliMiddleware
    from fastapi.responses import JSONResponse
    from seclusion import Secluded, policy
    from sqlalchemy.exc import OperationalError

    async def said(_request: Any, error: OperationalError) -> JSONResponse:
        full = "disk is full" in str(error.orig)
        detail = "no room left on the disk of this Argilla server" if full else f"its database: {error.orig}"
        return JSONResponse({"detail": f"{detail}; what was answered before is kept"}, 507 if full else 503)

    api_v1.add_exception_handler(OperationalError, said)
    packing = [each for each in _app.app.user_middleware if each.cls is BrotliMiddleware]
    for each in packing:
        _app.app.user_middleware.remove(each)
    _app.app.add_middleware(Secluded, policy=policy(pictures=pictures))


async def ensure_owner(username: str, password: str, api_key: str) -> None:
    """The owner is the one of the credentials file, also when that file was written anew beside an old database."""
    from argilla_server.contexts import accounts
    from argilla_server.database import AsyncSessionLocal, async_engine
    from argilla_server.models import User, UserRole

    async with AsyncSessionLocal() as db:
        owner = await accounts.get_user_by_username(db, username)
        if owner is None:
            await User.create(
                db,
                first_name="Owner",
                username=username,
                role=UserRole.owner,
                password_hash=accounts.hash_password(password),
                api_key=api_key,
                workspaces=[],
            )
        elif owner.api_key != api_key or not accounts.verify_password(password, owner.password_hash):
            await owner.update(db, password_hash=accounts.hash_password(password), api_key=api_key)
    await async_engine.dispose()  # its connections belong to this event loop, which ends here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pictures", action="store_true", help="pages may load pictures from outside")
    options = parser.parse_args()
    os.umask(0o077)
    # The lock on this file came with the process (see embedded.py); the pid in it is the one who holds the lock.
    (options.home / "server.pid").write_text(f"{os.getpid()}\n", encoding="utf-8")
    credentials = json.loads((options.home / "credentials.json").read_text(encoding="utf-8"))
    configure(options.home, options.port, credentials["secret"])
    from tables import migrate, prepare_connections

    prepare_connections()
    migrate()
    import engine  # noqa: F401 — registers itself under the name "database"

    keep_validators()
    build_events_only_for_webhooks()
    expect_loose_records()
    run_jobs_inline()
    check_passwords_aside()
    seclude(pictures=options.pictures)
    asyncio.run(ensure_owner(credentials["username"], credentials["password"], credentials["api_key"]))
    import uvicorn
    from argilla_server import _app

    gc.collect()
    gc.freeze()  # what is loaded now stays: to look through it for garbage would hold everybody up for half a second
    uvicorn.run(_app.app, host="127.0.0.1", port=options.port, access_log=False, log_level="info")


if __name__ == "__main__":
    main()
