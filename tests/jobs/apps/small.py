"""A small Modal app that uses what our own app uses: volumes, secrets, GPUs by preference, retries, classes, the web."""

import os
import time
from pathlib import Path

import modal

app = modal.App("small")
volume = modal.Volume.from_name("shelf", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11").uv_pip_install("numpy==2.4.6")
shelf = Path("/mnt/shelf")


@app.function(
    image=image, volumes={str(shelf): volume}, gpu=["H100", "A100-80GB"], timeout=600, retries=2, max_containers=2
)
def square(number: int, pause_s: float = 0.0, commit: bool = True) -> int:
    time.sleep(pause_s)
    (shelf / f"{number}.txt").write_text(str(number * number))
    if commit:
        volume.commit()
    print("squared", number, flush=True)
    return number * number


@app.function(image=image, volumes={str(shelf): volume}, retries=modal.Retries(max_retries=3, initial_delay=0.0))
def stumble(name: str, failures: int) -> int:
    """Fails so many times before it succeeds."""
    volume.reload()
    count = len(list(shelf.glob(f"{name}-*")))
    (shelf / f"{name}-{count}").write_text("")
    volume.commit()
    if count < failures:
        raise ValueError(f"stumbled {count}")
    return count


@app.function(image=image, secrets=[modal.Secret.from_name("keys", required_keys=["COLOUR"])], timeout=2)
def colour(pause_s: float = 0.0) -> str:
    time.sleep(pause_s)
    return os.environ["COLOUR"]


@app.cls(image=image)
class Warm:
    """Loaded once, called often."""

    start: int = modal.parameter()

    @modal.enter()
    def load(self) -> None:
        self.calls = self.start

    @modal.method()
    def call(self) -> tuple[int, int]:
        self.calls += 1
        return os.getpid(), self.calls


@app.function(image=image)
def coordinate(numbers: list[int]) -> int:
    return sum(square.map(numbers))


@app.function(image=image)
@modal.fastapi_endpoint(method="POST")
def double(body: dict[str, int]) -> dict[str, int]:
    return {"doubled": 2 * body["number"]}


@app.local_entrypoint()
def main(numbers: int = 3, pause_s: float = 0.0, commit: bool = True) -> None:
    calls = [(number, pause_s, commit) for number in range(numbers)]
    print("sum", sum(square.starmap(calls)))


@app.local_entrypoint()
def others() -> None:
    print("colour", colour.remote())
    print("stumbles", stumble.remote("client", 2))
    warm = Warm(start=10)
    print("warm", [count for _, count in (warm.call.remote(), warm.call.remote())])
    print("large", len(echo.remote(b"x" * 5_000_000)))
    call = coordinate.spawn([1, 2, 3])
    print("coordinated", call.get(timeout=60))


@app.function(image=image)
def echo(content: bytes) -> bytes:
    return content


@app.local_entrypoint()
def late() -> None:
    try:
        colour.remote(30.0)
    except modal.exception.FunctionTimeoutError:
        print("timed out")


@app.local_entrypoint()
def aside() -> None:
    """For --detach: the work goes on without this client."""
    coordinate.spawn([4, 5])
