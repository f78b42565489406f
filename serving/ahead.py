"""An iterator run ahead in a thread: reading and tokenising go on while the model works."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def ahead(parts: Iterable[T], most: int = 2) -> Iterator[T]:
    """The parts in their order, up to `most` of them made before they are asked for.

    What making a part raises comes out where the part would have. One that is left early waits for what it has begun.
    """
    pending = iter(parts)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        waiting = deque(thread.submit(next, pending, _END) for _ in range(most))
        while (part := waiting.popleft().result()) is not _END:
            waiting.append(thread.submit(next, pending, _END))
            yield part
