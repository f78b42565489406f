"""Tests of the desk, against a real embedded server."""
