-- Each version of the guidelines that teacher and people have gone by, or that was tested, in the order in which it was seen.
CREATE TABLE guidelines (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE, -- Task.guidelines_id
    record TEXT NOT NULL -- JSON of a Version
);
