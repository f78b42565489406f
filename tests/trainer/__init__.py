"""Tests of the student: mechanics on a tiny model built on the spot, quality on MiniLM and real helpdesk text."""
