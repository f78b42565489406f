-- Requests handed in together, noted before they are handed in and until all their replies are here.
CREATE TABLE batches (
    name TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    record TEXT NOT NULL -- JSON of a BatchNote
) WITHOUT ROWID;
