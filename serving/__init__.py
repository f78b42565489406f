"""The deployed student: tables of texts read, checked and labelled."""
