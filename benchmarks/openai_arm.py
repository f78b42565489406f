"""The openai SDK on the same requests: python benchmarks/openai_arm.py BODIES URL IN_FLIGHT -> one line of JSON.

It stands alone, so that an interpreter that has the SDK and nothing of this project can run it. It only sends and reads:
no rendering, no ledger, no vote.
"""

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


async def main(bodies: list[dict[str, Any]], url: str, in_flight: int) -> None:
    try:
        openai: Any = importlib.import_module("openai")
    except ImportError:
        print(json.dumps({"missing": True}))
        return
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    waiting: Iterator[dict[str, Any]] = iter(bodies)

    async def work() -> None:
        for body in waiting:
            reply = await client.chat.completions.create(**body)
            json.loads(reply.choices[0].message.content)

    started, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    print(json.dumps({"seconds": time.monotonic() - started, "cpu_s": time.process_time() - cpu}))


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    asyncio.run(main([json.loads(line) for line in lines], sys.argv[2], int(sys.argv[3])))
