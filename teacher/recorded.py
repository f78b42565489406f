"""The recorded teacher: a server on this machine, in OpenAI's and Anthropic's shape, that plays back what a teacher once said.

    python -m teacher.recorded --replies replies.jsonl --messages pool.jsonl gold.jsonl --port 8080

A reply is a line {"id", "task", "variant", ...}; everything else in it is played as the JSON of the reply, but a text under
"reply" as it is. A model is named TASK/VARIANT. The item is found by the exact text between the prompt's markers, and by its pair and predicate where
it has them: nothing else of the prompt counts, and neither do logprobs, n, response_format or temperature, which are ignored as many servers ignore them. It says
plainly that it is a recording: in /v1/models, in `system_fingerprint`, and in the header x-stillhouse-recorded.
"""

import argparse
import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from prompts.delimit import sendable
from prompts.render import question_of
from stillhouse.errors import InputError, StillhouseError, TeacherError
from stillhouse.records import Item
from teacher.faults import Faults, RequestLog
from teacher.playback import make_app

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Recording:
    """What was said: for each model, the reply by what was asked (`prompts.render.question_of`)."""

    models: Mapping[str, Mapping[str, str]]


def load_recording(
    replies: Path,
    messages: Sequence[Path] = (),
    *,
    items: Iterable[Item] = (),
    text_field: str = "text",
    id_field: str = "id",
) -> Recording:
    """Join replies to texts by id. Texts come from JSONL files, from items already loaded, or both.

    Where several ids ask the same, the smallest id's reply is played: what is asked is all that the server sees. Texts
    from files have neither pair nor predicate; they answer every question about the text.
    """
    texts = {item.id: question_of(item) for item in items}
    for path in messages:
        for line, row in _rows(path):
            text, item_id = row.get(text_field), row.get(id_field)
            if not isinstance(text, str) or not isinstance(item_id, str):
                raise InputError(
                    f"{path}, line {line}: no message",
                    expected=f"texts under {id_field!r} and {text_field!r}",
                    found=f"the fields {', '.join(map(repr, row)) or 'none'}",
                    fix="correct the line, or name the fields",
                )
            texts[item_id] = sendable(text)
    models: dict[str, dict[str, str]] = {}
    played_id: dict[tuple[str, str], str] = {}
    for line, row in _rows(replies):
        if not all(isinstance(row.get(key), str) for key in ("id", "task", "variant")):
            raise InputError(
                f"{replies}, line {line}: no reply",
                expected='the texts "id", "task" and "variant"',
                found=f"the fields {', '.join(map(repr, row)) or 'none'}",
                fix="correct the line",
            )
        model = f"{row['task']}/{row['variant']}"
        said = models.setdefault(model, {})
        reply_id = row["id"]
        shown = texts.get(reply_id)
        if shown is None or played_id.get((model, shown), reply_id) < reply_id:
            continue
        played_id[model, shown] = reply_id
        said[shown] = _played(row)
    return Recording(models)


def _played(row: Mapping[str, Any]) -> str:
    """The words of a reply: those under "reply", as lines of tags are no JSON, else the rest of the row as JSON."""
    rest = {name: value for name, value in row.items() if name not in {"id", "task", "variant"}}
    words = rest.get("reply")
    return words if len(rest) == 1 and isinstance(words, str) else orjson.dumps(rest).decode()


@contextmanager
def recorded_teacher(
    replies: Path,
    messages: Sequence[Path] = (),
    *,
    items: Iterable[Item] = (),
    text_field: str = "text",
    id_field: str = "id",
    port: int = 0,
    faults: Faults | None = None,
    log: RequestLog | None = None,
) -> Iterator[str]:
    """The server in a thread of this process; gives its base_url, and stops it at the end."""
    recording = load_recording(replies, messages, items=items, text_field=text_field, id_field=id_field)
    with serving(make_app(recording.models, faults or Faults(), log or RequestLog()), port) as url:
        yield url


@contextmanager
def serving(app: web.Application, port: int = 0) -> Iterator[str]:
    """Any aiohttp application in a thread, on this machine only."""
    started: list[int | BaseException] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, port)
            await site.start()
            started.append(int(runner.addresses[0][1]))
            ready.set()
            await stop.wait()
        finally:
            await runner.cleanup()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(serve())
        except OSError as error:
            started.append(error)
            ready.set()
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="recorded-teacher", daemon=True)
    thread.start()
    ready.wait(START_TIMEOUT_S)
    if not started or isinstance(started[0], BaseException):
        raise TeacherError(
            "the recorded teacher cannot start",
            expected=f"a free port at {HOST}" + (f":{port}" if port else ""),
            found=str(started[0]) if started else "no answer from its thread",
            fix="choose another port, or 0 for any",
        )
    try:
        yield f"http://{HOST}:{started[0]}/v1"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read", expected="a JSONL file", found=str(error), fix="correct the path"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not JSON", expected="one JSON object", found=str(error), fix="mend the line"
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"{path}, line {number}: no object", expected="one JSON object", found=type(row).__name__, fix="mend it"
            )
        yield number, row


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the first line printed is the address."""
    parser = argparse.ArgumentParser(prog="python -m teacher.recorded", description="Play back a teacher's replies.")
    parser.add_argument("--replies", type=Path, required=True, help="JSONL: id, task, variant, and what was said")
    parser.add_argument("--messages", type=Path, nargs="+", required=True, help="JSONL: id, text")
    parser.add_argument("--text-field", default="text")
    parser.add_argument("--id-field", default="id")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before every answer")
    chosen = parser.parse_args(arguments)
    try:
        recording = load_recording(
            chosen.replies, chosen.messages, text_field=chosen.text_field, id_field=chosen.id_field
        )
        app = make_app(recording.models, Faults(latency_s=chosen.latency_ms / 1000), RequestLog())
        with serving(app, chosen.port) as url:
            print(url, flush=True)
            print(f"This is a recording, not a model. It plays: {', '.join(sorted(recording.models))}", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except StillhouseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
