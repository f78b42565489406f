"""More labels than codes an API tells of: each item is shown those that may fit, and "none of these" for all the rest.

What is said for "none of these" stays residual: it belongs to labels that were not shown, and nobody has said to which.
"""

from collections.abc import Sequence
from dataclasses import replace

from prompts.labels import label_codes
from prompts.render import CODE_TOKENS, Frame, frame_of
from stillhouse.settings import Teacher
from stillhouse.task import Task

SHOWN = 19  # labels; with "none of these" they are 20, as many as the largest `top_logprobs` of an API
OTHER_LABEL = "none of these"


def few_of_many(task: Task) -> bool:
    """Whether there are more labels than the codes that any API tells of."""
    return task.kind == "single_label" and len(task.labels) > SHOWN + 1


def candidates_frame(task: Task, teacher: Teacher) -> Frame:
    """What is common to all items; `with_candidates` makes it an item's own. Its prompt id covers all labels."""
    common = frame_of(
        task,
        teacher,
        template="candidates",
        style="codes",
        reply_tokens=CODE_TOKENS,
        other_label=OTHER_LABEL,
        other=label_codes(SHOWN + 1)[-1],
        count=len(task.labels),
    )
    return replace(common, other=label_codes(SHOWN + 1)[-1])


def with_candidates(common: Frame, names: Sequence[str]) -> Frame:
    """The frame with these labels alone, in its own order: the order in which they were ranked is no hint.

    Expects at most SHOWN names.
    """
    wanted = frozenset(names)
    listed = common.words["labels"]
    assert isinstance(listed, list)
    assert len(wanted) <= SHOWN
    shown = [label for label in listed if label["name"] in wanted]
    letters = label_codes(len(shown) + 1)
    codes = {label["name"]: code for label, code in zip(shown, letters, strict=False)}
    labels = [{**label, "code": codes[label["name"]]} for label in shown]
    return replace(
        common,
        codes=tuple(codes.get(name, "") for name in common.labels.names),
        words={**common.words, "labels": labels, "other": letters[-1]},
        other=letters[-1],
    )
