"""Whether a Ray cluster can do our work: python -m jobs.smoke_ray [ADDRESS]; without an address Ray starts on this machine."""

import sys

from jobs.ray_tasks import RayTasks
from stillhouse.errors import StillhouseError

TASKS = 4


def main() -> int:
    """Four tasks that say they are ready; 0 if all do."""
    address = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        outcomes = list(RayTasks(address).run("echo", [{"said": "is ready"}] * TASKS))
    except StillhouseError as error:
        print(error.text(), file=sys.stderr)
        return error.exit_code
    for outcome in outcomes:
        print(f"task {outcome.number}", outcome.result["said"] if outcome.result else outcome.failure)
    return int(any(outcome.result is None for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
