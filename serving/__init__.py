"""The deployed student: batch labelling."""
