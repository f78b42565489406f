"""A client library on the same requests: python benchmarks/sdk_arm.py openai|litellm BODIES URL IN_FLIGHT -> one line of JSON.

It stands alone, so that an interpreter that has the library and nothing of this project can run it. It only sends and
reads: no rendering, no ledger, no vote. What the library does once, before its first request, is not counted.
"""

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

WARM = 20  # requests before the clock starts


def openai_call(url: str) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    client: Any = importlib.import_module("openai").AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    def call(body: dict[str, Any]) -> Awaitable[Any]:
        asked: Awaitable[Any] = client.chat.completions.create(**body)
        return asked

    return call


def litellm_call(url: str) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True

    def call(body: dict[str, Any]) -> Awaitable[Any]:
        asked: Awaitable[Any] = litellm.acompletion(
            **{**body, "model": f"openai/{body['model']}"}, api_base=url, api_key="none", num_retries=0
        )
        return asked

    return call


async def main(library: str, bodies: list[dict[str, Any]], url: str, in_flight: int) -> None:
    try:
        call = {"openai": openai_call, "litellm": litellm_call}[library](url)
    except ImportError:
        print(json.dumps({"missing": True}))
        return

    async def all_of(some: list[dict[str, Any]]) -> None:
        waiting: Iterator[dict[str, Any]] = iter(some)

        async def work() -> None:
            for body in waiting:
                reply = await call(body)
                json.loads(reply.choices[0].message.content)

        await asyncio.gather(*(work() for _ in range(in_flight)))

    await all_of(bodies[:WARM])
    started, cpu = time.monotonic(), time.process_time()
    await all_of(bodies)
    print(json.dumps({"seconds": time.monotonic() - started, "cpu_s": time.process_time() - cpu}))


if __name__ == "__main__":
    lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    asyncio.run(main(sys.argv[1], [json.loads(line) for line in lines], sys.argv[3], int(sys.argv[4])))
