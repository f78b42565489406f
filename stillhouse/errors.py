"""Every error the product raises on purpose, with the exit code the command line gives it.

StillhouseError                1   anything below
├── InputError                 2   a file, a flag, a label, a text: expected, found, what to do
│   └── TaskError              2   task.toml or its data: every mistake at once
├── TeacherError               3   the API is dead, slow, or answers what cannot be used
│   └── TeacherAuthError       3   401 or 403: the key is wrong or missing
├── BudgetError                4   the next call could cost more than is left
├── DeskError                  5   Argilla is down or refuses; the files of the file desk cannot be read
├── StoreError                 6   the project's store cannot be opened or written
│   ├── StoreLockedError       6   another run holds this project
│   ├── StoreTooNewError       6   written by a newer version
│   └── DiskFullError          6   no room left
└── ModelError                 7   a base or a student cannot be loaded, or does not fit the task

Exit code 0 is success, 10 is "waiting for people" (nothing is wrong: repeat the command when they have answered),
130 is an interrupt. No exception of a foreign library leaves a command: it is turned into one of these.
"""

from collections.abc import Sequence

WAITING_EXIT_CODE = 10
INTERRUPTED_EXIT_CODE = 130


class StillhouseError(Exception):
    """The root. `expected`, `found` and `fix` make the three lines a person reads."""

    exit_code = 1

    def __init__(self, what: str, *, expected: str = "", found: str = "", fix: str = "") -> None:
        self.what, self.expected, self.found, self.fix = what, expected, found, fix
        super().__init__(self.text())

    def text(self) -> str:
        lines = [self.what]
        lines += [
            f"  {name}: {value}"
            for name, value in (("expected", self.expected), ("found", self.found), ("what to do", self.fix))
            if value
        ]
        return "\n".join(lines)


class InputError(StillhouseError):
    exit_code = 2


class TaskError(InputError):
    """All mistakes of a task and its data, collected before anything is paid for."""

    def __init__(self, problems: Sequence[str], *, where: str) -> None:
        self.problems = tuple(problems)
        count = "1 mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  - {problem}" for problem in self.problems))


class TeacherError(StillhouseError):
    exit_code = 3


class TeacherAuthError(TeacherError):
    pass


class BudgetError(StillhouseError):
    exit_code = 4


class DeskError(StillhouseError):
    exit_code = 5


class StoreError(StillhouseError):
    exit_code = 6


class StoreLockedError(StoreError):
    pass


class StoreTooNewError(StoreError):
    pass


class DiskFullError(StoreError):
    pass


class ModelError(StillhouseError):
    exit_code = 7
