"""The readers of replies that are more than one label: tolerant of form, never guessing at meaning.

What does not fit is counted by name in `findings` and left out: "unaligned", "ambiguous", "overlap", "count_mismatch",
"unknown_label" (see `prompts.align`), and for fields "missing", "unknown_field" and "unreadable". A reply of which
nothing can be used is unreadable; one that needed help, or lost a part, is repaired.
"""

from prompts.read_fields import read_fields
from prompts.read_labels import ABSENT, read_multi_label
from prompts.read_spans import read_quotes, read_tagged
from prompts.read_tags import read_numbered_tags

__all__ = ["ABSENT", "read_fields", "read_multi_label", "read_numbered_tags", "read_quotes", "read_tagged"]
