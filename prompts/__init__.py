"""The words for the teacher: templates, rendering, delimiting, parsing."""
