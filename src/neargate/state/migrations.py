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
        # Log lines are bytes: text columns of other databases refuse NUL, which a container may write.
        """CREATE TABLE log_event (
            stream BIGINT NOT NULL, ts BIGINT NOT NULL, seq BIGINT NOT NULL, ingested BIGINT NOT NULL,
            message BYTEA NOT NULL, PRIMARY KEY (stream, ts, seq))""",
        """CREATE TABLE log_stream (
            log_group BIGINT NOT NULL, name TEXT NOT NULL, stream BIGINT NOT NULL UNIQUE,
            created BIGINT NOT NULL, first_ts BIGINT NOT NULL, last_ts BIGINT NOT NULL,
            ingested BIGINT NOT NULL, bytes BIGINT NOT NULL, PRIMARY KEY (log_group, name))""",
        "CREATE INDEX log_stream_recent ON log_stream (log_group, last_ts, name)",
        """CREATE TABLE log_cursor (
            runtime_id TEXT NOT NULL PRIMARY KEY, spool_offset BIGINT NOT NULL, skip BIGINT NOT NULL,
            ended BIGINT NOT NULL)""",
        # Streams that were deleted: their events go in slices.
        "CREATE TABLE log_garbage (stream BIGINT NOT NULL PRIMARY KEY)",
    ),
    # 2: metrics and their points (state/metrics.py)
    (
        """CREATE TABLE metric (
            account TEXT NOT NULL, region TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
            dimensions TEXT NOT NULL, series BIGINT NOT NULL UNIQUE, last_ts BIGINT NOT NULL,
            bytes BIGINT NOT NULL, PRIMARY KEY (account, region, namespace, name, dimensions))""",
        """CREATE TABLE metric_point (
            series BIGINT NOT NULL, resolution INTEGER NOT NULL, ts BIGINT NOT NULL, unit TEXT NOT NULL,
            count DOUBLE PRECISION NOT NULL, total DOUBLE PRECISION NOT NULL,
            minimum DOUBLE PRECISION NOT NULL, maximum DOUBLE PRECISION NOT NULL, pairs BYTEA NOT NULL,
            PRIMARY KEY (series, resolution, ts, unit))""",
    ),
)
