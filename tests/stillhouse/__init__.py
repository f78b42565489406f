"""Floor 0: what is kept, what is asked for, what goes wrong."""
