"""The words for the teacher: templates, rendering, parsing."""
