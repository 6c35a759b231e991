"""CloudWatch through the stock aws CLI."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.door import Door


def test_metrics_alarms_and_waiters(door: Door, tmp_path: Path) -> None:
    keys = door.daemon.credential
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ENDPOINT_URL": door.endpoint,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_PAGER": "",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }

    def aws(*arguments: str) -> Any:
        command = [str(Path(sys.executable).parent / "aws"), "cloudwatch", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout or "{}")

    of = ("--namespace", "Shop", "--metric-name", "Orders")
    aws("put-metric-data", *of, "--value", "3", "--dimensions", "Store=north", "--unit", "Count")
    listed = aws("list-metrics", "--namespace", "Shop")["Metrics"]
    assert [(m["MetricName"], m["Dimensions"]) for m in listed] == [
        ("Orders", [{"Name": "Store", "Value": "north"}])
    ]
    aws(
        *("put-metric-alarm", "--alarm-name", "few", *of, "--dimensions", "Name=Store,Value=north"),
        *("--statistic", "Sum", "--period", "60", "--evaluation-periods", "2", "--threshold", "1"),
        *("--comparison-operator", "LessThanThreshold", "--treat-missing-data", "notBreaching"),
    )
    aws("put-composite-alarm", "--alarm-name", "any", "--alarm-rule", "ALARM(few)")
    aws("wait", "alarm-exists", "--alarm-names", "few")
    aws("set-alarm-state", "--alarm-name", "few", "--state-value", "ALARM", "--state-reason", "drill")
    (few,) = aws("describe-alarms", "--alarm-names", "few")["MetricAlarms"]
    assert (few["StateValue"], few["StateReason"]) == ("ALARM", "drill")
    (both,) = aws("describe-alarms", "--alarm-types", "CompositeAlarm")["CompositeAlarms"]
    assert both["StateValue"] == "ALARM"
    history = aws("describe-alarm-history", "--alarm-name", "few")["AlarmHistoryItems"]
    assert len(history) == 2
    aws("delete-alarms", "--alarm-names", "any")
    aws("delete-alarms", "--alarm-names", "few")
    assert aws("describe-alarms")["MetricAlarms"] == []
