-- What picked items were asked beyond their first label: yes or no, a second opinion, a decision between opinions.
CREATE TABLE askings (
    item_id TEXT NOT NULL,
    way TEXT NOT NULL,
    round INTEGER NOT NULL, -- of the item's pick
    record TEXT NOT NULL, -- JSON of an Asking
    PRIMARY KEY (item_id, way)
) WITHOUT ROWID;
