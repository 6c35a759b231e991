"""services/logs: CloudWatch Logs. Groups are records; streams and events are rows of state/log_events.

Operations are found by name by gateway/dispatch; `expire_forever` is a task of main.
"""

from neargate.services.logs.expiry import EXPIRE_EVERY, expire, expire_forever

__all__ = ["EXPIRE_EVERY", "expire", "expire_forever"]
