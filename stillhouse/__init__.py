"""What we talk about: task, items, votes, answers, predictions, rounds, store, errors, measures."""
