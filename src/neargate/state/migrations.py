"""The schema, as an ordered list of migrations; the store applies those it has not seen, each once.

Portable SQL: SQLite today, PostgreSQL later. Never edit one that has been released: add the next.
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    # 1: records, their indexes, the change feed, counters, log events
    (
        """CREATE TABLE record (
            kind TEXT NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, region TEXT NOT NULL,
            body TEXT NOT NULL, PRIMARY KEY (kind, id))""",
        "CREATE INDEX record_scope ON record (kind, account, region, id)",
        """CREATE TABLE record_index (
            kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL,
            PRIMARY KEY (kind, name, value, id))""",
        """CREATE TABLE change (
            seq BIGINT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL,
            deleted INTEGER NOT NULL)""",
        "CREATE TABLE counter (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)",
        """CREATE TABLE log_event (
            stream BIGINT NOT NULL, ts BIGINT NOT NULL, seq BIGINT NOT NULL, ingested BIGINT NOT NULL,
            message TEXT NOT NULL, PRIMARY KEY (stream, ts, seq))""",
    ),
)
