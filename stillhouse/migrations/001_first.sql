-- What was paid for: a row before a request is sent, its reply when it arrives.
CREATE TABLE requests (
    request_key TEXT PRIMARY KEY,
    item_id TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('in_flight', 'arrived', 'failed', 'in_doubt'))
) WITHOUT ROWID;
CREATE TABLE replies (
    request_key TEXT PRIMARY KEY,
    item_id TEXT NOT NULL,
    source TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL, -- zstd
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL
);
CREATE TABLE items (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL
);
CREATE TABLE votes (
    item_id TEXT NOT NULL,
    source TEXT NOT NULL,
    record TEXT NOT NULL, -- JSON of a Vote
    PRIMARY KEY (item_id, source)
) WITHOUT ROWID;
CREATE TABLE picks (
    item_id TEXT PRIMARY KEY,
    round INTEGER NOT NULL,
    position INTEGER NOT NULL,
    record TEXT NOT NULL -- JSON of a Pick
) WITHOUT ROWID;
CREATE TABLE answers (
    item_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    record TEXT NOT NULL, -- JSON of an Answer
    PRIMARY KEY (item_id, annotator)
) WITHOUT ROWID;
CREATE TABLE rounds (
    round INTEGER PRIMARY KEY,
    record TEXT NOT NULL -- JSON of a RoundRecord
);
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL -- JSON
) WITHOUT ROWID;
