-- Each version of the guidelines that teacher or people have gone by.
CREATE TABLE guidelines (
    id TEXT PRIMARY KEY, -- Task.guidelines_id
    record TEXT NOT NULL -- JSON
) WITHOUT ROWID;
