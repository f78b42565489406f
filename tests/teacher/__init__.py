"""The teacher over real HTTP: the recorded server, its faults, and named fake servers."""
