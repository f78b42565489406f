-- Each set of labels that the run has had, the last one now, and how it came from the one before.
CREATE TABLE schemas (
    number INTEGER PRIMARY KEY,
    record TEXT NOT NULL -- JSON of a Schema
);
-- Answers that a change of labels left open, as they were: they count no longer.
CREATE TABLE set_aside (
    number INTEGER NOT NULL, -- of the labels that they were given in
    item_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    record TEXT NOT NULL, -- JSON of an Answer
    PRIMARY KEY (number, item_id, annotator)
) WITHOUT ROWID;
