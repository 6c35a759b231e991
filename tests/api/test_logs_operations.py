"""CloudWatch Logs operation by operation, on a real store; tests/e2e/test_logs.py has the whole way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

from neargate.kit.clock import ManualClock
from neargate.kit.errors import ApiError
from neargate.kit.settings import Settings
from neargate.model.record import Scope
from neargate.services.call import Call
from neargate.services.logs import events, expiry, filter, groups, streams, tags
from neargate.state import log_events
from neargate.state.sqlite import SqliteStore

MODEL = botocore.session.get_session().get_service_model("logs")
NAMES = {xform_name(name): name for name in MODEL.operation_names}
VALIDATOR = ParamValidator()
G, S = "/ecs/app", "ecs/web/1"
DAY = 86_400_000


class Logs:
    """`logs.put_log_events(logGroupName=...)`: the operation, as a client would call it."""

    def __init__(self, runner: asyncio.Runner, store: SqliteStore) -> None:
        self.runner = runner
        self.store = store
        self.clock = ManualClock()
        self.settings = Settings()

    @property
    def now(self) -> int:
        return int(self.clock.now() * 1000)

    @property
    def house(self) -> Any:
        return SimpleNamespace(logs=self.store, clock=self.clock, settings=self.settings)

    def __getattr__(self, name: str) -> Any:
        module = next(m for m in (groups, streams, events, filter, tags) if hasattr(m, name))
        scope = Scope("000000000000", "us-east-1")
        call = Call(self.house, scope, "arn:aws:iam::000000000000:root", "AKIA", "r")
        model = MODEL.operation_model(NAMES[name])

        def run(**params: Any) -> Any:
            assert not VALIDATOR.validate(params, model.input_shape).has_errors()
            result = self.runner.run(getattr(module, name)(call, params))
            if model.output_shape is not None:
                report = VALIDATOR.validate(result, model.output_shape)
                assert not report.has_errors(), report.generate_report()
            return result

        return run

    def expire(self) -> None:
        self.runner.run(expiry.expire(self.house, self.clock.now()))

    def put(self, *messages: str, at: int | None = None, stream: str = S, step: int = 1) -> Any:
        at = self.now if at is None else at
        batch = [{"timestamp": at + i * step, "message": m} for i, m in enumerate(messages)]
        return self.put_log_events(logGroupName=G, logStreamName=stream, logEvents=batch)

    def get(self, **params: Any) -> Any:
        return self.get_log_events(logGroupName=G, logStreamName=S, **params)

    def filter(self, **params: Any) -> list[str]:
        """Messages of all pages."""
        found: list[str] = []
        while True:
            page = self.filter_log_events(logGroupName=G, **params)
            found += [e["message"] for e in page["events"]]
            if "nextToken" not in page:
                return found
            params["nextToken"] = page["nextToken"]


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Logs]:
    with asyncio.Runner() as runner:
        store = SqliteStore(tmp_path / "logs.db")
        runner.run(store.__aenter__())
        yield Logs(runner, store)
        runner.run(store.__aexit__())


@pytest.fixture
def logs(bare: Logs) -> Logs:
    bare.create_log_group(logGroupName=G)
    bare.create_log_stream(logGroupName=G, logStreamName=S)
    return bare


def messages(page: Any) -> list[str]:
    return [event["message"] for event in page["events"]]


def refused(code: str, message: str = "") -> Any:
    return pytest.raises(ApiError, match=f"^{code}: .*{message}")


def test_groups_are_made_described_and_deleted(bare: Logs) -> None:
    for name in ("/b", "/a/1", "/a/2", "/a/3"):
        bare.create_log_group(logGroupName=name, tags={"k": "v"}, kmsKeyId="arn:key")
    with refused("ResourceAlreadyExistsException", "The specified log group already exists$"):
        bare.create_log_group(logGroupName="/b")
    first = bare.describe_log_groups(logGroupNamePrefix="/a", limit=2)
    second = bare.describe_log_groups(logGroupNamePrefix="/a", limit=2, nextToken=first["nextToken"])
    assert [g["logGroupName"] for g in first["logGroups"] + second["logGroups"]] == ["/a/1", "/a/2", "/a/3"]
    assert "nextToken" not in second
    group = second["logGroups"][0]
    assert group["arn"] == "arn:aws:logs:us-east-1:000000000000:log-group:/a/3:*"
    assert group["logGroupArn"] == "arn:aws:logs:us-east-1:000000000000:log-group:/a/3"
    assert (group["storedBytes"], group["kmsKeyId"], group["logGroupClass"]) == (0, "arn:key", "STANDARD")
    assert "retentionInDays" not in group and group["creationTime"] == bare.now
    matching = bare.describe_log_groups(logGroupNamePattern="a/")["logGroups"]
    assert len(matching) == 3 and set(matching[0]) == {"arn", "creationTime", "logGroupName"}
    assert bare.describe_log_groups(logGroupNamePattern="A/")["logGroups"] == []
    bare.delete_log_group(logGroupName="/b")
    for operation in ("delete_log_group", "delete_retention_policy", "list_tags_log_group"):
        with refused("ResourceNotFoundException", r"The specified log group does not exist\.$"):
            getattr(bare, operation)(logGroupName="/b")
    for token in ("x", "e30=", "WzFd", "W10="):
        with refused("InvalidParameterException"):
            bare.describe_log_groups(nextToken=token)


def test_retention_and_protection(logs: Logs) -> None:
    with refused("InvalidParameterException", r"Value '2' at 'retentionInDays' .*\[1, 3, 5, 7, 14"):
        logs.put_retention_policy(logGroupName=G, retentionInDays=2)
    logs.put_retention_policy(logGroupName=G, retentionInDays=3)
    assert logs.describe_log_groups()["logGroups"][0]["retentionInDays"] == 3
    logs.delete_retention_policy(logGroupName=G)
    assert "retentionInDays" not in logs.describe_log_groups()["logGroups"][0]
    logs.put_log_group_deletion_protection(logGroupIdentifier=G, deletionProtectionEnabled=True)
    with refused("ValidationException"):
        logs.delete_log_group(logGroupName=G)


def test_tags_by_arn_and_by_name(logs: Logs) -> None:
    arn = logs.describe_log_groups()["logGroups"][0]["arn"]
    logs.tag_resource(resourceArn=arn.removesuffix(":*"), tags={"a": "1", "b": "2"})
    logs.tag_log_group(logGroupName=G, tags={"b": "3"})
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert logs.list_tags_for_resource(resourceArn=arn) == {"tags": {"b": "3"}}
    logs.untag_log_group(logGroupName=G, tags=["b"])
    assert logs.list_tags_log_group(logGroupName=G) == {"tags": {}}
    with refused("TooManyTagsException"):
        logs.tag_log_group(logGroupName=G, tags={"x": ""})
        logs.tag_resource(resourceArn=arn, tags={f"k{i}": "" for i in range(50)})
    with refused("InvalidParameterException"):
        logs.tag_resource(resourceArn=arn, tags={"AWS:x": ""})
    with refused("ResourceNotFoundException"):
        logs.list_tags_for_resource(resourceArn=arn.replace("us-east-1", "us-east-2"))


def test_streams_in_order_of_name_and_of_last_event(logs: Logs) -> None:
    for name in ("s3", "s1", "s2"):
        logs.create_log_stream(logGroupName=G, logStreamName=name)
    with refused("ResourceAlreadyExistsException", "The specified log stream already exists$"):
        logs.create_log_stream(logGroupName=G, logStreamName="s1")
    logs.put("x", at=logs.now - 5, stream="s2")
    logs.put("x", "y", at=logs.now - 1, stream="s1")

    def names(**params: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = logs.describe_log_streams(logGroupIdentifier=G, limit=1, **params)
            found += [s["logStreamName"] for s in page["logStreams"]]
            if "nextToken" not in page:
                return found
            params["nextToken"] = page["nextToken"]

    assert names() == [S, "s1", "s2", "s3"]
    assert names(logStreamNamePrefix="s", descending=True) == ["s3", "s2", "s1"]
    assert names(orderBy="LastEventTime", descending=True)[:2] == ["s1", "s2"]
    assert names(orderBy="LastEventTime")[-2:] == ["s2", "s1"]
    with refused("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix"):
        names(orderBy="LastEventTime", logStreamNamePrefix="s")
    s1 = logs.describe_log_streams(logGroupName=G, logStreamNamePrefix="s1")["logStreams"][0]
    assert (s1["firstEventTimestamp"], s1["lastEventTimestamp"]) == (logs.now - 1, logs.now)
    assert s1["lastIngestionTime"] == logs.now and s1["uploadSequenceToken"]
    assert s1["arn"].endswith(f"log-group:{G}:log-stream:s1")
    logs.delete_log_stream(logGroupName=G, logStreamName="s1")
    with refused("ResourceNotFoundException", r"The specified log stream does not exist\.$"):
        logs.delete_log_stream(logGroupName=G, logStreamName="s1")


def test_what_put_refuses_whole(logs: Logs) -> None:
    now = logs.now
    for bad, text in (
        ([(now, "a"), (now - 1, "b")], "chronological order"),
        ([(now - DAY - 1, "a"), (now, "b")], "more than 24 hours"),
        ([(now, "x" * (1 << 20))], "Log event too large: 1048602 bytes exceeds limit of 1048576"),
        ([(now, "x" * 600_000)] * 2, "Upload too large: 1200052 bytes exceeds limit of 1048576"),
    ):
        with refused("InvalidParameterException", text):
            events_ = [{"timestamp": ts, "message": m} for ts, m in bad]
            logs.put_log_events(logGroupName=G, logStreamName=S, logEvents=events_)
    with refused("ResourceNotFoundException", "log stream"):
        logs.put("x", stream="none")
    assert logs.filter() == []


def test_events_out_of_time_are_rejected_and_the_others_kept(logs: Logs) -> None:
    two_hours = 2 * 3_600_000
    assert logs.put("late", "fine", at=logs.now + two_hours)["rejectedLogEventsInfo"] == {
        "tooNewLogEventStartIndex": 1
    }
    old = logs.put("old", "ok", at=logs.now - 14 * DAY - 1)
    assert old["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    logs.put_retention_policy(logGroupName=G, retentionInDays=1)
    gone = logs.put("gone", "here", at=logs.now - DAY - 1)
    assert gone["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    assert "rejectedLogEventsInfo" not in logs.put("now")
    assert logs.filter() == ["ok", "here", "now", "late"]


def test_get_follows_tokens_both_ways(logs: Logs) -> None:
    logs.put(*[f"m{i}" for i in range(10)], at=logs.now - 100)
    last = logs.get(limit=4)
    assert messages(last) == ["m6", "m7", "m8", "m9"]
    before = logs.get(limit=4, nextToken=last["nextBackwardToken"])
    assert messages(before) == ["m2", "m3", "m4", "m5"]
    assert messages(logs.get(limit=4, nextToken=before["nextForwardToken"])) == ["m6", "m7", "m8", "m9"]
    end = logs.get(nextToken=last["nextForwardToken"])
    assert messages(end) == [] and end["nextForwardToken"] == last["nextForwardToken"]
    logs.put("new")
    assert messages(logs.get(nextToken=end["nextForwardToken"])) == ["new"]
    head = logs.get(limit=3, startFromHead=True)
    assert messages(head) == ["m0", "m1", "m2"]
    start = logs.get(nextToken=head["nextBackwardToken"])
    assert messages(start) == [] and start["nextBackwardToken"] == head["nextBackwardToken"]
    low, high = logs.now - 98, logs.now - 95
    assert messages(logs.get(startTime=low, endTime=high)) == ["m2", "m3", "m4"]
    for token in ("x", "f/1/s", "f/" + "9" * 56 + "/s"):
        with refused("InvalidParameterException"):
            logs.get(nextToken=token)


def test_an_empty_stream_has_tokens_that_find_what_comes(logs: Logs) -> None:
    token = logs.get()["nextForwardToken"]
    logs.put("first")
    assert messages(logs.get(nextToken=token)) == ["first"]
    logs.create_log_stream(logGroupName=G, logStreamName="far")
    huge = logs.get(startTime=2**63 - 1)
    assert messages(huge) == [] and messages(logs.get(nextToken=huge["nextForwardToken"])) == []


def test_an_answer_is_at_most_a_mebibyte(logs: Logs) -> None:
    for i in range(5):
        logs.put(f"{i}" * 400_000, at=logs.now - 10 + i)
    assert [m[0] for m in messages(logs.get(startFromHead=True))] == ["0", "1"]
    assert [m[0] for m in messages(logs.get())] == ["3", "4"]
    assert [m[0] for m in logs.filter()] == ["0", "1", "2", "3", "4"]
    assert len(logs.filter_log_events(logGroupName=G)["events"]) == 2


def test_filter_interleaves_streams_in_pages(logs: Logs) -> None:
    for k in range(5):
        logs.create_log_stream(logGroupName=G, logStreamName=f"s{k}")
        logs.put(*[f"{i:03d} s{k}" for i in range(k, 200, 5)], at=logs.now - 500 + k, step=5, stream=f"s{k}")
    whole = [f"{i:03d} s{i % 5}" for i in range(200)]
    assert logs.filter() == whole
    assert logs.filter(limit=7) == whole
    assert logs.filter(limit=7, startFromHead=False) == whole[::-1]
    assert logs.filter(logStreamNames=["s3", "s1"], limit=9) == [m for m in whole if m[-1] in "13"]
    assert logs.filter(logStreamNamePrefix="s4") == [m for m in whole if m[-1] == "4"]
    assert logs.filter(filterPattern='"010 "') == ["010 s0"]
    at = logs.now - 500
    assert logs.filter(startTime=at + 3, endTime=at + 5) == whole[3:6]
    page = logs.filter_log_events(logGroupName=G, limit=2)
    assert page["searchedLogStreams"] == [] and len({e["eventId"] for e in page["events"]}) == 2
    assert page["events"][0]["logStreamName"] == "s0" and page["events"][0]["ingestionTime"] == logs.now
    with refused("ResourceNotFoundException", "log stream"):
        logs.filter(logStreamNames=["none"])
    with refused("InvalidParameterException", "Invalid filter pattern"):
        logs.filter(filterPattern="{ $.a = ")
    for params in (
        {"logStreamNames": ["s1"], "logStreamNamePrefix": "s"},
        {"startFromHead": False, "startTime": 1_700_000_000_000},
    ):
        with refused("InvalidParameterException"):
            logs.filter(**params)
    newest = logs.filter_log_events(logGroupName=G, limit=2, startFromHead=False)
    again = logs.filter_log_events(logGroupName=G, limit=2, nextToken=newest["nextToken"])
    assert messages(again) == ["197 s2", "196 s1"], "the token keeps the direction"


def test_a_group_by_arn_and_bad_identifiers(logs: Logs) -> None:
    logs.put("x")
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{G}"
    for name in (arn, arn + ":*", G):
        assert len(logs.filter_log_events(logGroupIdentifier=name)["events"]) == 1
    for params in (
        {},
        {"logGroupName": G, "logGroupIdentifier": G},
        {"logGroupIdentifier": "arn:aws:s3:::x"},
    ):
        with refused("InvalidParameterException"):
            logs.filter_log_events(**params)


def test_odd_text_is_kept(logs: Logs) -> None:
    logs.put("nul \x00 \ud800 \U0001f600")
    assert messages(logs.get()) == ["nul \x00 ? \U0001f600"]


def test_a_group_made_anew_has_none_of_the_old_events(logs: Logs) -> None:
    logs.put("old")
    logs.delete_log_group(logGroupName=G)
    logs.create_log_group(logGroupName=G)
    logs.create_log_stream(logGroupName=G, logStreamName=S)
    assert messages(logs.get()) == [] and logs.filter() == []
    logs.expire()
    count = logs.runner.run(logs.store.read(lambda tx: tx.execute("SELECT count(*) FROM log_event")))
    assert count == [(0,)]


def test_retention_drops_what_is_too_old(logs: Logs) -> None:
    logs.put_retention_policy(logGroupName=G, retentionInDays=1)
    logs.put("a", "b", at=logs.now - DAY + 10_000, step=20_000)
    logs.clock.advance(20)
    logs.expire()
    assert logs.filter() == ["b"]
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 27
    logs.clock.advance(86_400)
    logs.expire()
    assert logs.filter() == [] and logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 0
    logs.put("c")
    assert logs.filter() == ["c"]


def test_the_total_is_bounded_and_the_oldest_go(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_events, "_SLICE", 30)
    logs.settings = Settings(log_max_bytes=100 * 126)
    logs.create_log_stream(logGroupName=G, logStreamName="s2")
    for stream, tag in ((S, "a"), ("s2", "b")):
        logs.put(*[f"{tag}{i:099d}" for i in range(200)], at=logs.now - 1000, stream=stream, step=3)
    logs.expire()
    kept = logs.filter()
    assert 60 <= len(kept) <= 95
    assert {int(m[1:]) for m in kept} == set(range(200 - len(kept) // 2, 200))
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 126 * len(kept)


def test_one_ancient_event_does_not_take_all_others_with_it(logs: Logs) -> None:
    logs.settings = Settings(log_max_bytes=100 * 126)
    logs.put("x" * 100, at=logs.now - 13 * DAY)
    logs.put(*[f"{i:0100d}" for i in range(105)], at=logs.now - 1000, step=3)
    logs.expire()
    kept = [int(message) for message in logs.filter()]
    assert kept == list(range(105 - len(kept), 105))
    assert 90 <= len(kept) <= 95


def test_filtering_much_is_bounded(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter, "_LOOKED_AT_EVENTS", 50)
    logs.put(*["x"] * 175, "needle", at=logs.now - 500)
    page = logs.filter_log_events(logGroupName=G, filterPattern="needle")
    assert page["events"] == [] and "nextToken" in page
    assert logs.filter(filterPattern="needle") == ["needle"]


def test_ten_thousand_events_are_put_and_read(logs: Logs) -> None:
    logs.put(*["m" * 70] * 10_000, at=logs.now - 20_000)
    assert len(messages(logs.get())) == 10_000
    assert len(logs.filter(filterPattern="m")) == 10_000
