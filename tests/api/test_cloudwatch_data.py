"""CloudWatch's data through a real client and a real door, in all three protocols."""

import datetime
import itertools
import time
from collections.abc import Iterator
from typing import Any

import botocore.config
import botocore.session
import pytest
from botocore.exceptions import ClientError

from tests.support.door import Door

PROTOCOLS = ("smithy-rpc-v2-cbor", "json", "query")
NS = "Shop"


def client(door: Door, protocol: str) -> Any:
    """A client that speaks one of the service's protocols, of a copy of the model that has no other."""
    session = botocore.session.Session()
    loader = session.get_component("data_loader")
    load = loader.load_service_model

    def loaded(service: str, type_name: str, api_version: str | None = None) -> Any:
        model = load(service, type_name, api_version)
        if service == "cloudwatch" and type_name == "service-2":
            metadata = {**model["metadata"], "protocol": protocol, "protocols": [protocol]}
            model = {**model, "metadata": metadata}
        return model

    loader.load_service_model = loaded
    credential = door.daemon.credential
    made = session.create_client(
        "cloudwatch",
        region_name=door.settings.region,
        endpoint_url=door.endpoint,
        aws_access_key_id=credential.access_key_id,
        aws_secret_access_key=credential.secret_access_key,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    assert made.meta.service_model.protocol == protocol
    return made


@pytest.fixture(params=PROTOCOLS)
def spoken(request: pytest.FixtureRequest, door: Door) -> Any:
    return client(door, request.param)


@pytest.fixture
def cloudwatch(door: Door) -> Any:
    return door.client("cloudwatch")


NOW = [0]
"""The minute in which a test begins: all of it is told by that one."""


@pytest.fixture(autouse=True)
def begun() -> None:
    NOW[0] = int(time.time()) // 60 * 60


def minute(ago: int = 0) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(NOW[0] - 60 * ago, datetime.UTC)


def put(
    cloudwatch: Any, name: str, *values: float, dimensions: dict[str, str] | None = None, **more: Any
) -> None:
    """A value each minute, the last one five minutes ago."""
    data = [
        {
            "MetricName": name,
            "Timestamp": minute(5 + len(values) - 1 - place),
            "Value": value,
            "Dimensions": [{"Name": n, "Value": v} for n, v in (dimensions or {}).items()],
            **more,
        }
        for place, value in enumerate(values)
    ]
    cloudwatch.put_metric_data(Namespace=NS, MetricData=data)


def stat(name: str, id: str, stat: str = "Sum", dimensions: dict[str, str] | None = None, **more: Any) -> Any:
    metric = {
        "Namespace": NS,
        "MetricName": name,
        "Dimensions": [{"Name": n, "Value": v} for n, v in (dimensions or {}).items()],
    }
    return {"Id": id, "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}, **more}


def get(cloudwatch: Any, *queries: Any, **more: Any) -> list[Any]:
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=list(queries), StartTime=minute(60), EndTime=minute(), **more
    )
    return answer["MetricDataResults"]  # type: ignore[no-any-return]


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_the_whole_way_in_each_protocol(spoken: Any) -> None:
    put(spoken, "Orders", 1.0, 2.0, 3.5, dimensions={"Store": "north"}, Unit="Count")
    (orders, double) = get(
        spoken,
        stat("Orders", "m1", dimensions={"Store": "north"}),
        {"Id": "e1", "Expression": "m1 * 2", "Label": "twice"},
        ScanBy="TimestampAscending",
    )
    assert orders["Values"] == [1.0, 2.0, 3.5]
    assert orders["Timestamps"] == [minute(7), minute(6), minute(5)]
    assert (double["Label"], double["Values"], double["StatusCode"]) == ("twice", [2.0, 4.0, 7.0], "Complete")
    found = spoken.get_metric_statistics(
        Namespace=NS,
        MetricName="Orders",
        Dimensions=[{"Name": "Store", "Value": "north"}],
        StartTime=minute(10),
        EndTime=minute(),
        Period=600,
        Statistics=["Sum", "Average", "Minimum", "Maximum", "SampleCount"],
        ExtendedStatistics=["p50", "tm90"],
    )
    (point,) = found["Datapoints"]
    assert (point["Sum"], point["SampleCount"], point["Minimum"], point["Maximum"]) == (6.5, 3.0, 1.0, 3.5)
    assert point["Unit"] == "Count"
    assert point["ExtendedStatistics"]["p50"] == 2.0
    assert found["Label"] == "Orders"
    (listed,) = spoken.list_metrics(Namespace=NS)["Metrics"]
    assert listed == {
        "Namespace": NS,
        "MetricName": "Orders",
        "Dimensions": [{"Name": "Store", "Value": "north"}],
    }


def test_an_error_in_each_protocol(spoken: Any) -> None:
    with pytest.raises(ClientError) as error:
        spoken.put_metric_data(Namespace="AWS/ECS", MetricData=[{"MetricName": "x", "Value": 1.0}])
    assert code_of(error) == ("InvalidParameterValue", 400)
    assert error.value.response["Error"]["Message"] == "The value AWS/ for parameter Namespace is invalid."
    with pytest.raises(ClientError) as error:
        spoken.get_dashboard(DashboardName="none")
    assert code_of(error)[0] == "ResourceNotFound"


def test_a_large_body_comes_compressed(cloudwatch: Any) -> None:
    """botocore zips PutMetricData from some size on."""
    sent: list[Any] = []
    cloudwatch.meta.events.register("before-send.cloudwatch", lambda request, **_: sent.append(request))
    data = [{"MetricName": f"metric-{i}", "Value": float(i)} for i in range(1000)]
    cloudwatch.put_metric_data(Namespace=NS, MetricData=data)
    assert sent[0].headers["Content-Encoding"] in ("gzip", b"gzip")
    pages = list(cloudwatch.get_paginator("list_metrics").paginate(Namespace=NS))
    assert [len(page["Metrics"]) for page in pages] == [500, 500]
    assert len({m["MetricName"] for page in pages for m in page["Metrics"]}) == 1000


def test_values_with_counts_and_statistic_sets(cloudwatch: Any) -> None:
    at = minute(5)
    several = {
        "MetricName": "Latency",
        "Timestamp": at,
        "Values": [1.0, 2.0, 10.0],
        "Counts": [5.0, 4.0, 1.0],
    }
    cloudwatch.put_metric_data(Namespace=NS, MetricData=[several])
    names = ("SampleCount", "Sum", "Maximum", "p50", "p99", "PR(:2)")
    found = get(cloudwatch, *(stat("Latency", f"m{i}", name) for i, name in enumerate(names)))
    assert [it["Values"] for it in found[:4]] == [[10.0], [23.0], [10.0], [1.5]]
    assert found[4]["Values"] == [pytest.approx(9.28)]
    assert found[5]["Values"] == [90.0]
    a_set = {"SampleCount": 4.0, "Sum": 8.0, "Minimum": 1.0, "Maximum": 3.0}
    cloudwatch.put_metric_data(
        Namespace=NS, MetricData=[{"MetricName": "Set", "Timestamp": at, "StatisticValues": a_set}]
    )
    average, percentile = get(cloudwatch, stat("Set", "a", "Average"), stat("Set", "p", "p90"))
    assert (average["Values"], percentile["Values"]) == ([2.0], [])


def test_high_resolution(cloudwatch: Any) -> None:
    now = int(time.time()) // 60 * 60 - 120
    data = [
        {"MetricName": "Fast", "Timestamp": now + i, "Value": float(i), "StorageResolution": 1}
        for i in range(60)
    ]
    cloudwatch.put_metric_data(Namespace=NS, MetricData=data)
    query = stat("Fast", "m", "Sum")
    query["MetricStat"]["Period"] = 10
    (found,) = cloudwatch.get_metric_data(
        MetricDataQueries=[query], StartTime=now, EndTime=now + 60, ScanBy="TimestampAscending"
    )["MetricDataResults"]
    assert found["Values"] == [float(sum(range(i, i + 10))) for i in range(0, 60, 10)]


def test_expressions_over_many_metrics(cloudwatch: Any) -> None:
    for store, values in (("north", (1.0, 2.0)), ("south", (10.0, 20.0))):
        put(cloudwatch, "Orders", *values, dimensions={"Store": store})
    put(cloudwatch, "Errors", 1.0, 4.0)
    found = get(
        cloudwatch,
        stat("Errors", "errors", ReturnData=False),
        {"Id": "all", "Expression": "SEARCH('{Shop,Store} Orders', 'Sum', 60)"},
        {"Id": "total", "Expression": "SUM(SEARCH('{Shop,Store} Orders', 'Sum', 60))"},
        {"Id": "rate", "Expression": "100 * errors / total", "Label": "rate ${MAX}"},
        {"Id": "high", "Expression": "IF(rate > 10, 1, 0)"},
        ScanBy="TimestampAscending",
    )
    assert [(it["Id"], it["Label"], it["Values"]) for it in found] == [
        ("all", "north", [1.0, 2.0]),
        ("all", "south", [10.0, 20.0]),
        ("total", "total", [11.0, 22.0]),
        ("rate", "rate 18.1818", [pytest.approx(100 / 11), pytest.approx(400 / 22)]),
        ("high", "high", [0.0, 1.0]),
    ]


def test_pages_of_data_come_to_all_of_it(cloudwatch: Any) -> None:
    put(cloudwatch, "A", *map(float, range(10)))
    put(cloudwatch, "B", *map(float, range(5)))
    queries = [stat("A", "a"), stat("None", "n"), stat("B", "b")]
    arguments = {
        "MetricDataQueries": queries,
        "StartTime": minute(60),
        "EndTime": minute(),
        "MaxDatapoints": 4,
    }
    gathered: dict[str, list[float]] = {}
    token: dict[str, str] = {}
    for page in itertools.count(1):  # noqa: B007
        answer = cloudwatch.get_metric_data(**arguments, **token)
        for it in answer["MetricDataResults"]:
            gathered.setdefault(it["Id"], []).extend(it["Values"])
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert page == 4
    assert gathered == {"a": [float(v) for v in range(9, -1, -1)], "n": [], "b": [4.0, 3.0, 2.0, 1.0, 0.0]}


def test_metrics_are_listed_by_what_they_have(cloudwatch: Any) -> None:
    put(cloudwatch, "Orders", 1.0, dimensions={"Store": "north", "Kind": "web"})
    put(cloudwatch, "Orders", 1.0, dimensions={"Store": "south"})
    put(cloudwatch, "Errors", 1.0)

    def listed(**wanted: Any) -> list[tuple[str, int]]:
        found = cloudwatch.list_metrics(Namespace=NS, **wanted)["Metrics"]
        return [(m["MetricName"], len(m["Dimensions"])) for m in found]

    assert listed() == [("Orders", 2), ("Orders", 1), ("Errors", 0)]
    assert listed(MetricName="Errors") == [("Errors", 0)]
    assert listed(Dimensions=[{"Name": "Store"}]) == [("Orders", 2), ("Orders", 1)]
    assert listed(Dimensions=[{"Name": "Store", "Value": "south"}]) == [("Orders", 1)]
    assert listed(Dimensions=[{"Name": "Store"}, {"Name": "Kind", "Value": "web"}]) == [("Orders", 2)]
    assert listed(Dimensions=[{"Name": "Nothing"}]) == []
    assert len(listed(RecentlyActive="PT3H")) == 3
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=4)
    data = [{"MetricName": "Old", "Value": 1.0, "Timestamp": old}]
    cloudwatch.put_metric_data(Namespace=NS, MetricData=data)
    assert ("Old", 0) in listed()
    assert ("Old", 0) not in listed(RecentlyActive="PT3H")
    assert (
        cloudwatch.list_metrics(Namespace=NS, IncludeLinkedAccounts=True)["OwningAccounts"] == ["0" * 12] * 4
    )


BAD = [
    ({"MetricData": []}, "MissingParameter", "The parameter MetricData is required."),
    ({"MetricData": [{"MetricName": "x"}]}, "MissingParameter", "MetricData.member.1.Value is required"),
    (
        {"MetricData": [{"MetricName": "x", "Value": float("nan")}]},
        "InvalidParameterValue",
        "Value is invalid",
    ),
    ({"MetricData": [{"MetricName": "x", "Value": 1e200}]}, "InvalidParameterValue", "out of the range"),
    (
        {"MetricData": [{"MetricName": "x", "Value": 1.0, "Values": [1.0]}]},
        "InvalidParameterCombination",
        "mutually exclusive",
    ),
    (
        {"MetricData": [{"MetricName": "x", "Values": [1.0, 2.0], "Counts": [1.0]}]},
        "InvalidParameterValue",
        "same size",
    ),
    (
        {"MetricData": [{"MetricName": "x", "Values": [1.0] * 151}]},
        "InvalidParameterValue",
        "greater than 150",
    ),
    (
        {"MetricData": [{"MetricName": "x", "Value": 1.0, "StorageResolution": 5}]},
        "InvalidParameterValue",
        "must be 1 or 60",
    ),
    (
        {"MetricData": [{"MetricName": "x", "Value": 1.0, "Timestamp": 1.0}]},
        "InvalidParameterValue",
        "two weeks in the past",
    ),
    (
        {"MetricData": [{"MetricName": "x", "Value": 1.0, "Timestamp": 4e9}]},
        "InvalidParameterValue",
        "two hours in the future",
    ),
    (
        {"MetricData": [{"MetricName": "x", "Value": 1.0, "Dimensions": [{"Name": "é", "Value": "v"}]}]},
        "InvalidParameterValue",
        "ASCII",
    ),
    (
        {"MetricData": [{"MetricName": "x", "Value": 1.0, "Dimensions": [{"Name": "a", "Value": "v"}] * 2}]},
        "InvalidParameterValue",
        "twice",
    ),
    (
        {"MetricData": [{"MetricName": "x", "Value": 1.0}] * 1001},
        "InvalidParameterValue",
        "greater than 1000",
    ),
    (
        {
            "MetricData": [
                {
                    "MetricName": "x",
                    "StatisticValues": {"SampleCount": 1.0, "Sum": 1.0, "Minimum": 2.0, "Maximum": 1.0},
                }
            ]
        },
        "InvalidParameterCombination",
        "must be greater than",
    ),
]


@pytest.mark.parametrize(("params", "code", "message"), BAD)
def test_data_that_is_refused(cloudwatch: Any, params: Any, code: str, message: str) -> None:
    with pytest.raises(ClientError) as error:
        cloudwatch.put_metric_data(Namespace=NS, **params)
    assert code_of(error) == (code, 400)
    assert message in error.value.response["Error"]["Message"]
    assert cloudwatch.list_metrics(Namespace=NS)["Metrics"] == []


QUERIES: list[tuple[Any, str]] = [
    ([], "must not be empty"),
    ([{"Id": "M1", "Expression": "1"}], "is not matching"),
    ([{"Id": "m1"}], "Exactly one of"),
    ([{"Id": "m1", "Expression": "m2 + 1"}], "Undefined variable 'm2'"),
    ([{"Id": "m1", "Expression": "m1 + 1"}], "Circular reference"),
    ([{"Id": "m1", "Expression": "1 +"}], "Error in expression 'm1'"),
    ([stat("a", "m1"), stat("b", "m1")], "not unique"),
    ([{"Id": "e", "Expression": "SUM(SEARCH(')', 'Sum', 60))"}], "SEARCH: unexpected"),
]


@pytest.mark.parametrize(("queries", "message"), QUERIES)
def test_queries_that_are_refused(cloudwatch: Any, queries: Any, message: str) -> None:
    with pytest.raises(ClientError) as error:
        get(cloudwatch, *queries)
    assert code_of(error) == ("ValidationError", 400)
    assert message in error.value.response["Error"]["Message"]


STATISTICS: list[tuple[dict[str, Any], str, str]] = [
    ({"Period": 45, "Statistics": ["Sum"]}, "InvalidParameterValue", "multiple of 60"),
    ({"Period": 60}, "InvalidParameterCombination", "At least one"),
    ({"Period": 60, "ExtendedStatistics": ["p101"]}, "InvalidParameterValue", "not supported"),
    ({"Period": 60, "ExtendedStatistics": ["Sum"]}, "InvalidParameterValue", "not supported"),
    ({"Period": 1, "Statistics": ["Sum"]}, "InvalidParameterCombination", "exceeds the limit of 1,440"),
    ({"Period": 60, "Statistics": ["Sum"], "StartTime": 2e9}, "InvalidParameterValue", "must be less than"),
]


@pytest.mark.parametrize(("params", "code", "message"), STATISTICS)
def test_statistics_that_are_refused(cloudwatch: Any, params: Any, code: str, message: str) -> None:
    arguments = {"Namespace": NS, "MetricName": "m", "StartTime": minute(60), "EndTime": minute(), **params}
    with pytest.raises(ClientError) as error:
        cloudwatch.get_metric_statistics(**arguments)
    assert code_of(error) == (code, 400)
    assert message in error.value.response["Error"]["Message"]


@pytest.fixture(autouse=True)
def emptied(door: Door) -> Iterator[None]:
    yield
    from neargate.state import metrics

    door.call(door.daemon.house.metrics.write(metrics.forget_all))


def test_unfit_tokens(cloudwatch: Any) -> None:
    for token in ("x", "bnVsbA==", "WzEsMl0=" * 3, "é"):
        with pytest.raises(ClientError) as error:
            cloudwatch.list_metrics(NextToken=token)
        assert code_of(error) == ("InvalidNextToken", 400)


@pytest.mark.parametrize("operation", ["put_metric_stream", "list_metric_streams", "describe_insight_rules"])
def test_what_is_not_built_says_so(cloudwatch: Any, operation: str) -> None:
    arguments = {
        "put_metric_stream": {"Name": "n", "FirehoseArn": "f", "RoleArn": "r", "OutputFormat": "json"},
    }.get(operation, {})
    with pytest.raises(ClientError) as error:
        getattr(cloudwatch, operation)(**arguments)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
