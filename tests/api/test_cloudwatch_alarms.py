"""CloudWatch's alarms and dashboards through a real client and a real door."""

import datetime
import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from neargate.model.alarm import Alarm, alarm_arn
from neargate.model.record import Scope
from neargate.services.cloudwatch import alarm_lists
from neargate.state.catalog_alarms import ALARM, ALARM_HISTORY
from neargate.state.sqlite_tx import SqliteTx
from tests.api.test_cloudwatch_data import PROTOCOLS, client
from tests.support.door import Door

SNS = "arn:aws:sns:us-east-1:000000000000:topic"
POLICY = "arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:1:resource/ecs/service/c/w:policyName/p"
ARN = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:"


@pytest.fixture
def cloudwatch(door: Door) -> Any:
    return door.client("cloudwatch")


def put(cloudwatch: Any, name: str = "high", **fields: Any) -> None:
    values = {
        "AlarmName": name,
        "Namespace": "AWS/ECS",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "ServiceName", "Value": "web"}, {"Name": "ClusterName", "Value": "c"}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 3,
        "Threshold": 70.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": [POLICY],
        **fields,
    }
    cloudwatch.put_metric_alarm(**{name: value for name, value in values.items() if value is not None})


def one(cloudwatch: Any, name: str = "high") -> Any:
    types = ["MetricAlarm", "CompositeAlarm"]
    found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=types)
    (alarm,) = found["MetricAlarms"] + found["CompositeAlarms"]
    return alarm


def error_of(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**params)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_alarm_is_shown_as_it_was_put(door: Door, protocol: str) -> None:
    spoken = client(door, protocol)
    put(
        spoken, DatapointsToAlarm=2, TreatMissingData="breaching", AlarmDescription="too\nhot", Unit="Percent"
    )
    alarm = one(spoken)
    times = [alarm.pop(name) for name in list(alarm) if name.endswith("Timestamp")]
    assert len(times) == 3
    assert all(isinstance(at, datetime.datetime) for at in times)
    assert alarm == {
        "AlarmName": "high",
        "AlarmArn": f"{ARN}high",
        "AlarmDescription": "too\nhot",
        "ActionsEnabled": True,
        "OKActions": [],
        "AlarmActions": [POLICY],
        "InsufficientDataActions": [],
        "StateValue": "INSUFFICIENT_DATA",
        "StateReason": "Unchecked: Initial alarm creation",
        "Namespace": "AWS/ECS",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "ServiceName", "Value": "web"}, {"Name": "ClusterName", "Value": "c"}],
        "Statistic": "Average",
        "Period": 60,
        "Unit": "Percent",
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "Threshold": 70.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "breaching",
    }


def test_the_record_is_where_others_look_for_it(door: Door, cloudwatch: Any) -> None:
    put(cloudwatch)
    arn = alarm_arn(Scope("000000000000", "us-east-1"), "high")
    found = door.call(door.daemon.house.store.read(lambda tx: tx.get(ALARM, arn)))
    assert isinstance(found, Alarm)
    assert (found.name, found.state, found.alarm_actions) == ("high", "INSUFFICIENT_DATA", (POLICY,))


def test_putting_again_changes_all_but_the_state(cloudwatch: Any) -> None:
    put(cloudwatch, AlarmDescription="old")
    cloudwatch.set_alarm_state(AlarmName="high", StateValue="OK", StateReason="by hand")
    put(cloudwatch, Threshold=90.0, Statistic=None, ExtendedStatistic="p99")
    alarm = one(cloudwatch)
    assert (alarm["Threshold"], alarm["StateValue"], alarm["StateReason"]) == (90.0, "OK", "by hand")
    assert "AlarmDescription" not in alarm
    assert (alarm.get("Statistic"), alarm["ExtendedStatistic"]) == (None, "p99")


def test_a_state_set_by_hand_is_in_the_history(cloudwatch: Any) -> None:
    put(cloudwatch, AlarmActions=[POLICY, SNS])
    data = json.dumps({"why": "test"})
    cloudwatch.set_alarm_state(
        AlarmName="high", StateValue="ALARM", StateReason="drill", StateReasonData=data
    )
    alarm = one(cloudwatch)
    assert (alarm["StateValue"], alarm["StateReason"], alarm["StateReasonData"]) == ("ALARM", "drill", data)
    history = cloudwatch.describe_alarm_history(AlarmName="high", ScanBy="TimestampAscending")[
        "AlarmHistoryItems"
    ]
    assert [(it["HistoryItemType"], it["HistorySummary"]) for it in history] == [
        ("ConfigurationUpdate", 'Alarm "high" created'),
        ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to ALARM"),
        ("Action", f"Failed to execute action {SNS}"),
    ]
    states = json.loads(history[1]["HistoryData"])
    assert states["oldState"]["stateValue"] == "INSUFFICIENT_DATA"
    assert states["newState"]["stateReasonData"] == {"why": "test"}
    assert "not available in neargate" in json.loads(history[2]["HistoryData"])["error"]
    of_type = cloudwatch.describe_alarm_history(AlarmName="high", HistoryItemType="StateUpdate")
    assert len(of_type["AlarmHistoryItems"]) == 1
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
        AlarmName="high", PaginationConfig={"PageSize": 1}
    )
    assert [it["HistoryItemType"] for page in pages for it in page["AlarmHistoryItems"]] == [
        "Action",
        "StateUpdate",
        "ConfigurationUpdate",
    ]
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    assert cloudwatch.describe_alarm_history(StartDate=later)["AlarmHistoryItems"] == []


def test_a_long_history_is_looked_through_in_parts(
    cloudwatch: Any, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cloudwatch)
    for state in ("OK", "ALARM", "OK", "ALARM"):
        cloudwatch.set_alarm_state(AlarmName="high", StateValue=state, StateReason="drill")
    parts: list[int] = []
    find = SqliteTx.find

    def finding(tx: Any, kind: Any, *args: Any, **more: Any) -> Any:
        found = find(tx, kind, *args, **more)
        if kind is ALARM_HISTORY:
            parts.append(len(found))
        return found

    monkeypatch.setattr(SqliteTx, "find", finding)
    monkeypatch.setattr(alarm_lists, "_AT_ONCE", 2)
    for order in ("TimestampAscending", "TimestampDescending"):
        pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
            AlarmName="high", ScanBy=order, PaginationConfig={"PageSize": 2}
        )
        lines = [it["HistorySummary"] for page in pages for it in page["AlarmHistoryItems"]]
        assert lines[0 if order == "TimestampAscending" else -1] == 'Alarm "high" created'
        assert len(lines) == 5
    assert max(parts) == 2


@pytest.mark.parametrize("data", ["{", r'"\ud800"', '{"a": NaN}'])
def test_data_of_a_state_must_be_json_that_can_be_kept(cloudwatch: Any, data: str) -> None:
    put(cloudwatch)
    code, _ = error_of(
        cloudwatch.set_alarm_state,
        AlarmName="high",
        StateValue="ALARM",
        StateReason="drill",
        StateReasonData=data,
    )
    assert code == "InvalidFormat" and one(cloudwatch)["StateValue"] == "INSUFFICIENT_DATA"


def test_actions_are_switched_off_and_on(cloudwatch: Any) -> None:
    put(cloudwatch, AlarmActions=[SNS])
    cloudwatch.disable_alarm_actions(AlarmNames=["high", "no such alarm"])
    assert one(cloudwatch)["ActionsEnabled"] is False
    cloudwatch.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="r")
    assert "Action" not in {
        it["HistoryItemType"] for it in cloudwatch.describe_alarm_history()["AlarmHistoryItems"]
    }
    cloudwatch.enable_alarm_actions(AlarmNames=["high"])
    assert one(cloudwatch)["ActionsEnabled"] is True


def test_lists_of_alarms(cloudwatch: Any) -> None:
    for number in range(7):
        put(cloudwatch, f"a-{number}", AlarmActions=[SNS] if number % 2 else [POLICY])
    cloudwatch.put_composite_alarm(AlarmName="a-all", AlarmRule="ALARM(a-1) OR ALARM(a-2)")
    cloudwatch.set_alarm_state(AlarmName="a-3", StateValue="OK", StateReason="r")

    def names(**wanted: Any) -> list[str]:
        found = cloudwatch.describe_alarms(**wanted)
        return [it["AlarmName"] for it in found["MetricAlarms"] + found["CompositeAlarms"]]

    assert names() == [f"a-{i}" for i in range(7)]
    assert names(AlarmTypes=["CompositeAlarm"]) == ["a-all"]
    assert len(names(AlarmTypes=["CompositeAlarm", "MetricAlarm"])) == 8
    assert names(AlarmNamePrefix="a-3") == ["a-3"]
    assert names(StateValue="OK") == ["a-3"]
    assert names(ActionPrefix="arn:aws:sns") == ["a-1", "a-3", "a-5"]
    assert names(AlarmNames=["a-5", "nothing"]) == ["a-5"]
    assert names(ChildrenOfAlarmName="a-all") == ["a-1", "a-2"]
    assert names(ParentsOfAlarmName="a-2") == ["a-all"]
    pages = cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 3})
    assert [len(page["MetricAlarms"]) for page in pages] == [3, 3, 1]
    code, message = error_of(cloudwatch.describe_alarms, AlarmNames=["a"], AlarmNamePrefix="a")
    assert (code, "mutually exclusive" in message) == ("InvalidParameterCombination", True)


def test_alarms_of_a_metric(cloudwatch: Any) -> None:
    put(cloudwatch)
    put(cloudwatch, "slow", Period=300)
    put(cloudwatch, "other", MetricName="MemoryUtilization")
    of = {"Namespace": "AWS/ECS", "MetricName": "CPUUtilization"}
    dimensions = [{"Name": "ClusterName", "Value": "c"}, {"Name": "ServiceName", "Value": "web"}]

    def names(**wanted: Any) -> list[str]:
        found = cloudwatch.describe_alarms_for_metric(**of, **wanted)["MetricAlarms"]
        return sorted(it["AlarmName"] for it in found)

    assert names(Dimensions=dimensions) == ["high", "slow"]
    assert names(Dimensions=dimensions, Period=300) == ["slow"]
    assert names(Dimensions=dimensions, Statistic="Sum") == []
    assert names() == []


def test_an_alarm_over_an_expression(cloudwatch: Any) -> None:
    metric = {"Namespace": "Shop", "MetricName": "Orders", "Dimensions": []}
    queries = [
        {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "e1", "Expression": "m1 / 2", "Label": "half", "ReturnData": True},
    ]
    cloudwatch.put_metric_alarm(
        AlarmName="maths",
        Metrics=queries,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="LessThanThreshold",
    )
    assert one(cloudwatch, "maths")["Metrics"] == queries


def test_a_change_comes_to_each_composite_alarm_once(cloudwatch: Any) -> None:
    """Of pairs above pairs: each pair differs in what it makes of the one below."""
    put(cloudwatch)
    cloudwatch.put_composite_alarm(AlarmName="0-a", AlarmRule="ALARM(high)")
    cloudwatch.put_composite_alarm(AlarmName="0-b", AlarmRule="NOT ALARM(high)")
    for level in range(1, 5):
        a, b = f"{level - 1}-a", f"{level - 1}-b"
        differ = f"(ALARM({a}) AND NOT ALARM({b})) OR (NOT ALARM({a}) AND ALARM({b}))"
        cloudwatch.put_composite_alarm(AlarmName=f"{level}-a", AlarmRule=differ)
        cloudwatch.put_composite_alarm(AlarmName=f"{level}-b", AlarmRule=f"NOT ({differ})")
    before = cloudwatch.describe_alarm_history(AlarmTypes=["CompositeAlarm"], HistoryItemType="StateUpdate")
    cloudwatch.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="drill")
    after = cloudwatch.describe_alarm_history(AlarmTypes=["CompositeAlarm"], HistoryItemType="StateUpdate")
    new = len(after["AlarmHistoryItems"]) - len(before["AlarmHistoryItems"])
    # Only the first pair changes; how the others see it (they differ, still) does not.
    assert {it["AlarmName"] for it in after["AlarmHistoryItems"][:new]} == {"0-a", "0-b"} and new == 2


def test_composite_alarms(cloudwatch: Any) -> None:
    put(cloudwatch)
    put(cloudwatch, "low")
    cloudwatch.put_composite_alarm(
        AlarmName="both",
        AlarmRule='ALARM("high") AND NOT OK(low)',
        AlarmActions=[SNS],
        ActionsSuppressor="low",
        ActionsSuppressorWaitPeriod=10,
        ActionsSuppressorExtensionPeriod=20,
    )
    both = one(cloudwatch, "both")
    assert (both["StateValue"], both["AlarmRule"]) == ("OK", 'ALARM("high") AND NOT OK(low)')
    assert (both["ActionsSuppressorWaitPeriod"], both["ActionsSuppressorExtensionPeriod"]) == (10, 20)
    cloudwatch.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="r")
    both = one(cloudwatch, "both")
    assert (both["StateValue"], both["ActionsSuppressedBy"]) == ("ALARM", "WaitPeriod")
    assert json.loads(both["StateReasonData"])["triggeringAlarms"][0]["arn"] == f"{ARN}high"
    cloudwatch.set_alarm_state(AlarmName="low", StateValue="OK", StateReason="r")
    assert one(cloudwatch, "both")["StateValue"] == "OK"
    cloudwatch.delete_alarms(AlarmNames=["high"])
    cloudwatch.set_alarm_state(AlarmName="low", StateValue="ALARM", StateReason="r")
    assert one(cloudwatch, "both")["StateValue"] == "OK"
    code, _ = error_of(cloudwatch.delete_alarms, AlarmNames=["both", "low"])
    assert code == "ValidationError"
    cloudwatch.delete_alarms(AlarmNames=["both"])
    cloudwatch.delete_alarms(AlarmNames=["low"])
    assert cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"AlarmRule": "ALARM(nothing)"}, "alarms [nothing] in the alarm rule do not exist"),
        ({"AlarmRule": "ALARM(high"}, "The alarm rule is invalid: ')' expected"),
        ({"AlarmRule": "ALARM(self)"}, "there is a cycle"),
        ({"AlarmRule": "ALARM(second)", "AlarmName": "first"}, "there is a cycle"),
        ({"AlarmRule": "TRUE", "AlarmName": "high"}, "An alarm of the type MetricAlarm exists"),
        ({"AlarmRule": "TRUE", "AlarmActions": ["nonsense"]}, "Invalid arn syntax: nonsense"),
    ],
)
def test_composite_alarms_that_are_refused(cloudwatch: Any, fields: Any, message: str) -> None:
    put(cloudwatch)
    cloudwatch.put_composite_alarm(AlarmName="first", AlarmRule="ALARM(high)")
    cloudwatch.put_composite_alarm(AlarmName="second", AlarmRule="ALARM(first)")
    code, told = error_of(cloudwatch.put_composite_alarm, **{"AlarmName": "self", **fields})
    assert (code, message in told) == ("ValidationError", True), told


METRIC_STAT = {
    "Id": "m1",
    "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m"}, "Period": 60, "Stat": "Sum"},
}
BARE = dict.fromkeys(("Namespace", "MetricName", "Dimensions", "Statistic", "Period"))
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"EvaluationPeriods": None}, "MissingParameter", "The parameter EvaluationPeriods is required."),
    ({"Threshold": None}, "MissingParameter", "Threshold"),
    ({"ComparisonOperator": None}, "MissingParameter", "ComparisonOperator"),
    ({"MetricName": None}, "MissingParameter", "MetricName"),
    ({"Period": 45}, "InvalidParameterValue", "must be 10, 20, 30 or a multiple of 60"),
    ({"Period": 1}, "InvalidParameterValue", "multiple of 60"),
    ({"EvaluationPeriods": 1441}, "ValidationError", "across more than a day"),
    ({"Period": 3600, "EvaluationPeriods": 169}, "ValidationError", "across more than seven days"),
    ({"DatapointsToAlarm": 4}, "ValidationError", "DatapointsToAlarm"),
    ({"Statistic": None}, "InvalidParameterCombination", "Exactly one of Statistic"),
    ({"ExtendedStatistic": "p99"}, "InvalidParameterCombination", "Exactly one of Statistic"),
    ({"Statistic": None, "ExtendedStatistic": "p999"}, "InvalidParameterValue", "not supported"),
    ({"TreatMissingData": "perhaps"}, "ValidationError", "TreatMissingData"),
    ({"EvaluateLowSampleCountPercentile": "perhaps"}, "ValidationError", "EvaluateLowSampleCountPercentile"),
    ({"AlarmActions": ["arn:aws"]}, "ValidationError", "Invalid arn syntax"),
    ({"Threshold": float("nan")}, "InvalidParameterValue", "Threshold"),
    ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "InvalidParameterValue", "anomaly detection"),
    ({"Metrics": [METRIC_STAT]}, "InvalidParameterCombination", "mutually exclusive"),
    (
        {**BARE, "Metrics": [METRIC_STAT, {"Id": "e1", "Expression": "m1"}]},
        "ValidationError",
        "Exactly one of the Metrics",
    ),
    (
        {**BARE, "Metrics": [{"Id": "e1", "Expression": "SUM(SEARCH('a', 'Sum', 60))", "Period": 60}]},
        "ValidationError",
        "SEARCH is not supported in alarms",
    ),
    (
        {**BARE, "Metrics": [{"Id": "e1", "Expression": "TIME_SERIES(1)"}]},
        "ValidationError",
        "needs a Period",
    ),
    ({"Dimensions": [{"Name": "a", "Value": "b"}] * 2}, "InvalidParameterValue", "twice"),
]


@pytest.mark.parametrize(("fields", "code", "message"), REFUSED)
def test_alarms_that_are_refused(cloudwatch: Any, fields: Any, code: str, message: str) -> None:
    with pytest.raises(ClientError) as error:
        put(cloudwatch, **fields)
    answer = error.value.response["Error"]
    assert (answer["Code"], message in answer["Message"]) == (code, True), answer
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


def test_what_is_of_no_alarm_is_not_found(cloudwatch: Any) -> None:
    put(cloudwatch)
    code, message = error_of(cloudwatch.delete_alarms, AlarmNames=["high", "none"])
    assert (code, message) == ("ResourceNotFound", "The alarm none does not exist.")
    assert one(cloudwatch)["AlarmName"] == "high"
    state = {"AlarmName": "none", "StateValue": "OK", "StateReason": "r"}
    assert error_of(cloudwatch.set_alarm_state, **state)[0] == "ResourceNotFound"
    odd = {"AlarmName": "high", "StateValue": "OK", "StateReason": "r", "StateReasonData": "{"}
    assert error_of(cloudwatch.set_alarm_state, **odd)[0] == "InvalidFormat"
    assert error_of(cloudwatch.list_tags_for_resource, ResourceARN=f"{ARN}none")[0].startswith(
        "ResourceNotFound"
    )


def test_tags_of_alarms_and_dashboards(cloudwatch: Any) -> None:
    put(cloudwatch, Tags=[{"Key": "team", "Value": "a"}])
    put(cloudwatch, Tags=[{"Key": "team", "Value": "not on an update"}])
    arn = f"{ARN}high"
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "stage", "Value": "test"}])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [
        {"Key": "team", "Value": "a"},
        {"Key": "stage", "Value": "test"},
    ]
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "stage", "Value": "test"}]
    cloudwatch.put_dashboard(DashboardName="d", DashboardBody='{"widgets": []}')
    board = "arn:aws:cloudwatch::000000000000:dashboard/d"
    cloudwatch.tag_resource(ResourceARN=board, Tags=[{"Key": "a", "Value": "b"}])
    assert cloudwatch.list_tags_for_resource(ResourceARN=board)["Tags"] == [{"Key": "a", "Value": "b"}]
    code, _ = error_of(cloudwatch.tag_resource, ResourceARN=arn, Tags=[{"Key": "aws:x", "Value": "b"}])
    assert code == "InvalidParameterValue"


BODY = {
    "widgets": [
        {
            "type": "metric",
            "x": 0,
            "y": 0,
            "width": 12,
            "height": 6,
            "properties": {"metrics": [["AWS/ECS", "CPUUtilization"]], "region": "us-east-1"},
        },
        {"type": "text", "properties": {"markdown": "# hello"}},
    ]
}


def test_dashboards(cloudwatch: Any) -> None:
    body = json.dumps(BODY)
    assert (
        cloudwatch.put_dashboard(DashboardName="one", DashboardBody=body)["DashboardValidationMessages"] == []
    )
    found = cloudwatch.get_dashboard(DashboardName="one")
    assert (found["DashboardBody"], found["DashboardName"]) == (body, "one")
    assert found["DashboardArn"] == "arn:aws:cloudwatch::000000000000:dashboard/one"
    odd = json.dumps({"widgets": [{"type": "text", "properties": {"markdown": ""}, "color": "red"}]})
    (warning,) = cloudwatch.put_dashboard(DashboardName="two", DashboardBody=odd)[
        "DashboardValidationMessages"
    ]
    assert warning == {"DataPath": "/widgets/0/color", "Message": "Unknown property"}
    entries = cloudwatch.list_dashboards()["DashboardEntries"]
    assert [(it["DashboardName"], it["Size"]) for it in entries] == [("one", len(body)), ("two", len(odd))]
    assert [
        it["DashboardName"] for it in cloudwatch.list_dashboards(DashboardNamePrefix="t")["DashboardEntries"]
    ] == ["two"]
    assert error_of(cloudwatch.delete_dashboards, DashboardNames=["one", "three"])[0] == "ResourceNotFound"
    assert len(cloudwatch.list_dashboards()["DashboardEntries"]) == 2
    cloudwatch.delete_dashboards(DashboardNames=["one", "two"])
    assert cloudwatch.list_dashboards()["DashboardEntries"] == []
    assert error_of(cloudwatch.get_dashboard, DashboardName="one")[0] == "ResourceNotFound"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("", "/"),
        ("[]", "/"),
        ("[" * 100_000, "/"),
        ("{}", "/widgets"),
        ('{"widgets": {}}', "/widgets"),
        ('{"widgets": [7]}', "/widgets/0"),
        ('{"widgets": [{"type": "nonsense", "properties": {}}]}', "/widgets/0/type"),
        ('{"widgets": [{"type": "text"}]}', "/widgets/0/properties"),
        ('{"widgets": [{"type": "text", "properties": {}}]}', "/widgets/0/properties"),
        (
            '{"widgets": [{"type": "metric", "properties": {"metrics": [7]}}]}',
            "/widgets/0/properties/metrics/0",
        ),
        ('{"widgets": [{"type": "text", "x": 24, "properties": {"markdown": ""}}]}', "/widgets/0/x"),
    ],
)
def test_bodies_of_dashboards_that_are_refused(cloudwatch: Any, body: str, path: str) -> None:
    with pytest.raises(ClientError) as error:
        cloudwatch.put_dashboard(DashboardName="d", DashboardBody=body)
    answer = error.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (
        "InvalidParameterInput",
        400,
    )
    assert answer["dashboardValidationMessages"][0]["DataPath"] == path
    code, _ = error_of(cloudwatch.put_dashboard, DashboardName="a b", DashboardBody=json.dumps(BODY))
    assert code == "InvalidParameterValue"


def test_the_resource_interface_works(door: Door) -> None:
    credential = door.daemon.credential
    resource = boto3.resource(
        "cloudwatch",
        region_name="us-east-1",
        endpoint_url=door.endpoint,
        aws_access_key_id=credential.access_key_id,
        aws_secret_access_key=credential.secret_access_key,
    )
    put(door.client("cloudwatch"))
    assert [alarm.name for alarm in resource.alarms.all()] == ["high"]
    waiter = door.client("cloudwatch").get_waiter("alarm_exists")
    waiter.wait(AlarmNames=["high"], WaiterConfig={"Delay": 1, "MaxAttempts": 1})
