"""Tests state behaviours, one each."""
