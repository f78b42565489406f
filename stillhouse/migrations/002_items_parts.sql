-- What an item has beside its text: a second text, given tokens, the span in question, a picture.
ALTER TABLE items ADD COLUMN parts TEXT NOT NULL DEFAULT '{}'; -- JSON
