"""The desk of the people: embedded Argilla, dataset settings, push, pull, and a file desk."""
