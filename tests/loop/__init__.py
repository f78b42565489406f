"""The loop: what a round does, what stops it, what is reported."""
