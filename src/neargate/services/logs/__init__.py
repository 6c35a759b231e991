"""services/logs: CloudWatch Logs. Groups are records; streams and events are rows of state/log_events.

Operations are found by name by gateway/dispatch; `expire` is run every EXPIRE_EVERY seconds by main.
"""

from neargate.services.logs.expiry import EXPIRE_EVERY, expire

__all__ = ["EXPIRE_EVERY", "expire"]
