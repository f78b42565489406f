"""Numbered steps that bring a store up to date, oldest first."""
