-- Each set of labels that the run has had, the last one now, and how it came from the one before.
CREATE TABLE schemas (
    number INTEGER PRIMARY KEY,
    record TEXT NOT NULL -- JSON
);
