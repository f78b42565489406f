"""The command about a run's people."""

from loop.flags import Json, RunFolder, clear_errors, say


def people(run: RunFolder, as_json: Json = False) -> None:
    """Who answered how much, how far people agree, what they take over from suggestions, where they differ, and the time.

    Can be asked while the run works.

    Examples:
        stillhouse people runs/demo

        stillhouse people runs/demo --json

    """
    from loop.people import people_of_run
    from loop.people_text import people_text

    with clear_errors():
        found = people_of_run(run)
        say(found.to_json(), people_text(found), as_json=as_json)
