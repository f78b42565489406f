"""Prompts and their parsing: goldens, examples, properties, hostile texts."""
