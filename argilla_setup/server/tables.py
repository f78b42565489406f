"""The server's own SQLite tables: brought up to date, mended after a kill, and read by the indexes that help."""

from typing import Any

SYNCHRONOUS = "FULL"  # 4 ms a commit; NORMAL would be enough for a kill, but not for a power cut
WAL_KEPT_BYTES = 64 * 2**20
# An answer and the status of its record are two commits of the stock server; a kill between them leaves the second undone.
MEND_STATUSES = """
UPDATE records SET status = CASE status WHEN 'pending' THEN 'completed' ELSE 'pending' END WHERE id IN (
  SELECT records.id FROM records JOIN datasets ON datasets.id = dataset_id
  LEFT JOIN (SELECT record_id, count(*) AS given FROM responses WHERE status = 'submitted' GROUP BY record_id)
    ON record_id = records.id
  WHERE (records.status = 'completed') != (coalesce(given, 0) >= json_extract(distribution, '$.min_submitted')))
"""
# The page asks for the progress of the dataset twice after each answer.
PROGRESS = "CREATE INDEX IF NOT EXISTS stillhouse_progress ON records (dataset_id, status)"
# Knowing nothing, SQLite takes an index of statuses for as good as any, and reads all submitted answers for each record.
# So it is told: of so many rows, so many have one value. As they will be, for at the first start there are none to count.
ROWS_FOR_A_VALUE = (
    ("records", "ix_records_dataset_id", "100000 20000"),
    ("records", "ix_records_status", "100000 50000"),
    ("records", "stillhouse_progress", "100000 20000 10000"),
    ("responses", "ix_responses_record_id", "100000 2"),
    ("responses", "ix_responses_status", "100000 50000"),
    ("responses", "ix_responses_user_id", "100000 2000"),
    ("suggestions", "ix_suggestions_question_id", "100000 20000"),
    ("suggestions", "ix_suggestions_record_id", "100000 3"),
    ("suggestions", "ix_suggestions_type", "100000 50000"),
    ("vectors", "ix_vectors_record_id", "100000 2"),
    ("vectors", "ix_vectors_vector_settings_id", "100000 20000"),
)


def prepare_connections() -> None:
    """WAL lets people read while one writes; the text search calls back into Python."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from statements import MATCHES, matches

    @event.listens_for(Engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
        cursor.execute(f"PRAGMA journal_size_limit={WAL_KEPT_BYTES}")
        cursor.close()
        connection.create_function(MATCHES, 3, matches, deterministic=True)


def migrate() -> None:
    """Bring the tables up to date, and write beside them which server did (backup.py reads that before a start)."""
    import alembic.config
    from argilla_server import database
    from argilla_server._version import __version__
    from sqlalchemy import text

    alembic.config.main(argv=["-c", database.ALEMBIC_CONFIG_FILE, "upgrade", "head"])
    with database.sync_engine.begin() as connection:
        connection.execute(text(MEND_STATUSES))
        connection.execute(text(PROGRESS))
        connection.execute(text("ANALYZE workspaces"))  # makes the table of what is known; of a small one, so at once
        connection.execute(text("DELETE FROM sqlite_stat1"))
        connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", list(ROWS_FOR_A_VALUE))
        connection.execute(text("CREATE TABLE IF NOT EXISTS stillhouse_written_by (version VARCHAR NOT NULL)"))
        connection.execute(text("DELETE FROM stillhouse_written_by"))
        connection.execute(text("INSERT INTO stillhouse_written_by VALUES (:version)"), {"version": __version__})
    database.sync_engine.dispose()  # what is known is read when a connection is opened
