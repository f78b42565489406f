-- How often a request was sent and its fate never known, and what that may have cost: kept when it is sent again.
ALTER TABLE requests ADD COLUMN worst_usd REAL NOT NULL DEFAULT 0; -- of the last time it was sent
ALTER TABLE requests ADD COLUMN doubts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN doubt_usd REAL NOT NULL DEFAULT 0;
UPDATE requests SET doubts = 1 WHERE state = 'in_doubt';
