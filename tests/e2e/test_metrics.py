"""What real tasks use, as metrics; and an alarm that turns by them. Slow by nature: a minute is a minute."""

import datetime
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.support.real import RealDaemon, eventually

BUSY = "while :; do :; done"


def now(ago: float = 0.0) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time.time() - ago, datetime.UTC)


def points(
    cloudwatch: Any, namespace: str, name: str, period: int, **dimensions: str
) -> list[dict[str, Any]]:
    found = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": n, "Value": v} for n, v in dimensions.items()],
        StartTime=now(600),
        EndTime=now(-60),
        Period=period,
        Statistics=["Average", "Sum", "SampleCount", "Maximum"],
    )["Datapoints"]
    return sorted(found, key=lambda point: point["Timestamp"])


def names(cloudwatch: Any, **dimensions: str) -> set[str]:
    wanted = [{"Name": n, "Value": v} for n, v in dimensions.items()]
    pages = cloudwatch.get_paginator("list_metrics").paginate(
        Namespace="ECS/ContainerInsights", Dimensions=wanted
    )
    return {
        metric["MetricName"]
        for page in pages
        for metric in page["Metrics"]
        if len(metric["Dimensions"]) == len(dimensions)
    }


@pytest.mark.timeout(900)
def test_a_busy_service_is_measured_and_an_alarm_turns(stack: Stack) -> None:
    cloudwatch, ecs = stack.daemon.client("cloudwatch"), stack.ecs
    ecs.create_cluster(clusterName="seen", settings=[{"name": "containerInsights", "value": "enhanced"}])
    script = f"(dd if=/dev/zero of=/tmp/file bs=1M count=20 2>/dev/null); {BUSY}"
    definition = ecs.register_task_definition(
        family="busy",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        containerDefinitions=[stack.container(script)],
    )["taskDefinition"]["taskDefinitionArn"]
    names_of = ["CPUUtilization"]
    ecs.create_service(
        cluster="seen",
        serviceName="busy",
        taskDefinition=definition,
        desiredCount=2,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": stack.subnets}},
        monitoring={"metricConfigurations": [{"metricNames": names_of, "resolutionSeconds": 20}]},
    )
    service = {"ClusterName": "seen", "ServiceName": "busy"}
    cloudwatch.put_metric_alarm(
        AlarmName="busy",
        Namespace="AWS/ECS",
        MetricName="CPUUtilization",
        Dimensions=[{"Name": n, "Value": v} for n, v in service.items()],
        Statistic="Average",
        Period=20,
        EvaluationPeriods=1,
        Threshold=40.0,
        ComparisonOperator="GreaterThanThreshold",
    )
    cloudwatch.put_composite_alarm(AlarmName="trouble", AlarmRule="ALARM(busy)")

    def state(name: str) -> str:
        found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        (alarm,) = found["MetricAlarms"] + found["CompositeAlarms"]
        return str(alarm["StateValue"])

    try:
        eventually(lambda: state("busy") == "ALARM", "the alarm turns", 150)
        assert state("trouble") == "ALARM"
        steps = points(cloudwatch, "AWS/ECS", "CPUUtilization", 20, **service)
        assert max(point["Maximum"] for point in steps) > 40
        assert all(point["Unit"] == "Percent" for point in steps)
        eventually(
            lambda: [
                point
                for point in points(cloudwatch, "ECS/ContainerInsights", "CpuUtilized", 60, **service)
                # A quarter of a processor each, all of which they use if the machine has it for them.
                if point["SampleCount"] == 2 and point["Sum"] > 200
            ],
            "a minute of both tasks",
            300,
        )
        memory = points(cloudwatch, "AWS/ECS", "MemoryUtilization", 60, **service)
        assert 0 < memory[-1]["Average"] < 100
        assert points(cloudwatch, "AWS/ECS", "MemoryUtilization", 20, **service) == []
        eventually(lambda: "RunningTaskCount" in names(cloudwatch, **service), "the counts", 100)
        assert {"CpuReserved", "MemoryUtilized", "NetworkRxBytes", "StorageWriteBytes"} <= names(
            cloudwatch, **service
        )
        running = points(cloudwatch, "ECS/ContainerInsights", "RunningTaskCount", 60, **service)
        assert running[-1]["Maximum"] == 2
        of_container = names(cloudwatch, **service, ContainerName="main")
        assert {"ContainerCpuUtilization", "ContainerMemoryUtilization"} <= of_container
        assert {"TaskCount", "ServiceCount"} <= names(cloudwatch, ClusterName="seen")
        assert names(cloudwatch, ClusterName="e2e") == set()
        (group,) = stack.logs.describe_log_groups(logGroupNamePrefix="/aws/ecs/containerinsights/seen")[
            "logGroups"
        ]
        told = {
            "logGroupName": group["logGroupName"],
            "filterPattern": '{ $.Type = "Task" && $.CpuUtilized > 100 }',
        }
        eventually(lambda: stack.logs.filter_log_events(**told)["events"], "it is told in a log")
    finally:
        ecs.delete_service(cluster="seen", service="busy", force=True)
    history = cloudwatch.describe_alarm_history(AlarmName="busy", HistoryItemType="StateUpdate")
    summaries = [item["HistorySummary"] for item in history["AlarmHistoryItems"]]
    assert any(summary.endswith("to ALARM") for summary in summaries), summaries
    # Without tasks there are no data: the alarm does not stay as it is.
    eventually(lambda: state("busy") == "INSUFFICIENT_DATA", "no data", 200)


def test_points_and_alarms_outlive_a_killed_daemon(tmp_path: Path) -> None:
    with RealDaemon(tmp_path / "data") as daemon:
        cloudwatch = daemon.client("cloudwatch")
        at = now(120)  # one moment: they are of one minute
        data = [{"MetricName": "Orders", "Value": float(i), "Timestamp": at} for i in range(10)]
        cloudwatch.put_metric_data(Namespace="Shop", MetricData=data)
        cloudwatch.put_metric_alarm(
            AlarmName="many",
            Namespace="Shop",
            MetricName="Orders",
            Statistic="Sum",
            Period=300,
            EvaluationPeriods=1,
            Threshold=40.0,
            ComparisonOperator="GreaterThanThreshold",
        )
        daemon.kill()
        daemon.up()
        cloudwatch = daemon.client("cloudwatch")
        (point,) = points(cloudwatch, "Shop", "Orders", 60)
        assert (point["SampleCount"], point["Sum"]) == (10, 45.0)

        def state() -> str:
            (alarm,) = cloudwatch.describe_alarms(AlarmNames=["many"])["MetricAlarms"]
            return str(alarm["StateValue"])

        # Everything is looked at once when the loop starts.
        eventually(lambda: state() == "ALARM", "the alarm turns", 90)
