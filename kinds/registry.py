"""Which kind a task is of: the one place that names them all."""

from collections.abc import Callable, Mapping

from kinds.fields import Fields
from kinds.kind import Kind
from kinds.multi_label import MultiLabel
from kinds.roles import Roles
from kinds.single_label import SingleLabel
from kinds.span_sets import SpanSets
from kinds.tokens import Tokens
from stillhouse.task import KindName, Task

KINDS: Mapping[KindName, Callable[[Task], Kind]] = {
    "single_label": SingleLabel,
    "multi_label": MultiLabel,
    "spans": SpanSets,
    "tokens": Tokens,
    "roles": Roles,
    "fields": Fields,
}


def kind_of(task: Task) -> Kind:
    """The task as its kind sees it."""
    return KINDS[task.kind](task)
