"""The kinds of task: for each, one object that says how to ask, read, encode, decode, doubt, compare, measure, show."""
