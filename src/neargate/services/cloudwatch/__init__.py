"""services/cloudwatch: CloudWatch's metrics, alarms and dashboards. Points are rows of state/metrics.

put_data, data (GetMetricData), statistics, listing; alarms, composites, alarm_lists, states, history;
dashboards, tags; names reads what callers give. `expire_forever` is a task of main. Alarms are evaluated by
control/alarms. There are no metric streams, anomaly detectors or insight rules.
"""

from neargate.services.cloudwatch.expiry import expire_forever

__all__ = ["expire_forever"]
