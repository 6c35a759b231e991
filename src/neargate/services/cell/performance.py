"""Container Insights' performance log events, into a group per cluster. Called by services/cell/metrics."""

from collections.abc import Sequence

from neargate.model.logs import LogGroup, group_id
from neargate.model.performance import Line
from neargate.state import log_events
from neargate.state.catalog import LOG_GROUP
from neargate.state.store import Tx

_RETENTION_DAYS = 1
"""As AWS gives the groups that it makes for this."""


def put(tx: Tx, node: str, at: int, now: int, lines: Sequence[Line]) -> None:
    """Of one minute. at, now -- milliseconds."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.scope.account, line.scope.region, line.group), []).append(line)
    for (account, region, name), found in groups.items():
        number = _group(tx, account, region, name, now).number
        stream = f"FargateTelemetry-{node.replace(':', '-').replace('*', '-')}"
        row = log_events.get_stream(tx, number, stream) or log_events.create_stream(tx, number, stream, now)
        assert row is not None
        log_events.append(tx, row.number, [(at, line.text) for line in found], now)


def _group(tx: Tx, account: str, region: str, name: str, now: int) -> LogGroup:
    found = tx.get(LOG_GROUP, group_id(account, region, name))
    if found is not None:
        return found
    made = LogGroup(
        account=account,
        region=region,
        name=name,
        number=tx.next("log-group"),
        created_at=now,
        retention_days=_RETENTION_DAYS,
    )
    return tx.insert(LOG_GROUP, made)
