"""SQS by an unmodified client: standard and FIFO queues, long polls, visibility, dead letter queues."""

import json
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from neargate.model.queue import attributes_digest
from neargate.state import sqlite_tx
from tests.support.door import Door


@pytest.fixture
def sqs(door: Door) -> Any:
    return door.client("sqs")


def refused(code: str, operation: Any, **params: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        operation(**params)
    error = caught.value.response["Error"]
    assert code in (error["Code"], error.get("QueryErrorCode")), caught.value
    return caught.value


def receive(sqs: Any, url: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sqs.receive_message(
        QueueUrl=url, MessageSystemAttributeNames=["All"], MessageAttributeNames=["All"], **params
    ).get("Messages", [])
    return found


def attributes(sqs: Any, url: str) -> dict[str, str]:
    found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


def arn(sqs: Any, url: str) -> str:
    return attributes(sqs, url)["QueueArn"]


def test_a_queue_from_birth_to_death(door: Door, sqs: Any) -> None:
    url = sqs.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "7"}, tags={"a": "1"})[
        "QueueUrl"
    ]
    assert url == f"{door.endpoint}/000000000000/jobs"
    assert sqs.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "7"})["QueueUrl"] == url
    refused("QueueAlreadyExists", sqs.create_queue, QueueName="jobs", Attributes={"VisibilityTimeout": "8"})
    assert sqs.get_queue_url(QueueName="jobs")["QueueUrl"] == url
    assert sqs.list_queues(QueueNamePrefix="j")["QueueUrls"] == [url]
    assert (
        "QueueUrls" not in sqs.list_queues(QueueNamePrefix="x")
        or not sqs.list_queues(QueueNamePrefix="x")["QueueUrls"]
    )
    shown = attributes(sqs, url)
    assert shown["QueueArn"] == "arn:aws:sqs:us-east-1:000000000000:jobs"
    assert shown["VisibilityTimeout"] == "7" and shown["MessageRetentionPeriod"] == "345600"
    assert shown["ApproximateNumberOfMessages"] == "0"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "3"})
    one = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds"])["Attributes"]
    assert one == {"DelaySeconds": "3"}
    sqs.tag_queue(QueueUrl=url, Tags={"b": "2"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"b": "2"}
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as caught:
        sqs.get_queue_url(QueueName="jobs")
    assert caught.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    refused("QueueDoesNotExist", sqs.send_message, QueueUrl=url, MessageBody="x")


def test_lists_have_pages(sqs: Any) -> None:
    urls = [sqs.create_queue(QueueName=f"q{i}")["QueueUrl"] for i in range(5)]
    pages = sqs.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 2})
    assert [url for page in pages for url in page.get("QueueUrls", [])] == urls


def test_a_message_is_hidden_until_it_is_deleted(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    given = {
        "text": {"DataType": "String", "StringValue": "é"},
        "number": {"DataType": "Number.int", "StringValue": "-7"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    sent = sqs.send_message(QueueUrl=url, MessageBody="hello ☃", MessageAttributes=given)
    assert sent["MD5OfMessageAttributes"] == attributes_digest(given)
    (message,) = receive(sqs, url)
    assert message["Body"] == "hello ☃" and message["MessageId"] == sent["MessageId"]
    assert message["MessageAttributes"] == given
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert not receive(sqs, url)
    assert attributes(sqs, url)["ApproximateNumberOfMessagesNotVisible"] == "1"
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    (again,) = receive(sqs, url)
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])  # of an earlier time: another's
    assert attributes(sqs, url)["ApproximateNumberOfMessagesNotVisible"] == "1"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    shown = attributes(sqs, url)
    assert shown["ApproximateNumberOfMessagesNotVisible"] == shown["ApproximateNumberOfMessages"] == "0"


def test_attributes_are_shown_as_asked_for(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    given = {name: {"DataType": "String", "StringValue": "x"} for name in ("a.one", "a.two", "b")}
    sqs.send_message(QueueUrl=url, MessageBody="m", MessageAttributes=given)
    for asked, names in ((["a.*"], {"a.one", "a.two"}), (["b"], {"b"}), ([], set()), (["All"], set(given))):
        found = sqs.receive_message(QueueUrl=url, MessageAttributeNames=asked, VisibilityTimeout=0)[
            "Messages"
        ]
        assert set(found[0].get("MessageAttributes", {})) == names


def test_a_long_poll_ends_with_a_message(sqs: Any, door: Door) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    found: list[dict[str, Any]] = []
    poll = threading.Thread(target=lambda: found.extend(receive(door.client("sqs"), url, WaitTimeSeconds=20)))
    began = time.monotonic()
    poll.start()
    sqs.send_message(QueueUrl=url, MessageBody="m")
    poll.join()
    assert [message["Body"] for message in found] == ["m"] and time.monotonic() - began < 19


def test_a_long_poll_ends_when_a_hidden_message_comes_back(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="delayed", DelaySeconds=4)
    assert attributes(sqs, url)["ApproximateNumberOfMessagesDelayed"] == "1"
    assert not receive(sqs, url)
    assert receive(sqs, url, WaitTimeSeconds=20, VisibilityTimeout=1)[0]["Body"] == "delayed"
    assert receive(sqs, url, WaitTimeSeconds=20)[0]["Attributes"]["ApproximateReceiveCount"] == "2"


def test_an_empty_poll_ends(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    assert not receive(sqs, url, WaitTimeSeconds=1)


def test_batches(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    entries = [{"Id": f"e{i}", "MessageBody": f"m{i}"} for i in range(9)]
    sent = sqs.send_message_batch(QueueUrl=url, Entries=[*entries, {"Id": "bad", "MessageBody": "\x01"}])
    assert len(sent["Successful"]) == 9 and [f["Id"] for f in sent["Failed"]] == ["bad"]
    assert sent["Failed"][0]["Code"] == "InvalidMessageContents" and sent["Failed"][0]["SenderFault"]
    found = receive(sqs, url, MaxNumberOfMessages=10)
    assert [m["Body"] for m in found] == [f"m{i}" for i in range(9)]
    handles = [{"Id": f"e{i}", "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(found)]
    shown = [{**h, "VisibilityTimeout": 0} for h in handles[:2]]
    assert len(sqs.change_message_visibility_batch(QueueUrl=url, Entries=shown)["Successful"]) == 2
    assert len(receive(sqs, url, MaxNumberOfMessages=10)) == 2
    answer = sqs.delete_message_batch(
        QueueUrl=url, Entries=[*handles[2:], {"Id": "x", "ReceiptHandle": "no"}]
    )
    assert len(answer["Successful"]) == 7 and answer["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    send = sqs.send_message_batch
    refused("EmptyBatchRequest", send, QueueUrl=url, Entries=[])
    refused("TooManyEntriesInBatchRequest", send, QueueUrl=url, Entries=[*entries, *entries])
    refused("BatchEntryIdsNotDistinct", send, QueueUrl=url, Entries=[entries[0], entries[0]])
    refused("InvalidBatchEntryId", send, QueueUrl=url, Entries=[{"Id": "a b", "MessageBody": "x"}])


def test_what_was_received_too_often_goes_to_the_dead_letter_queue(sqs: Any) -> None:
    grave = sqs.create_queue(QueueName="grave")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, grave), "maxReceiveCount": 2})
    url = sqs.create_queue(QueueName="q", Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})[
        "QueueUrl"
    ]
    assert sqs.list_dead_letter_source_queues(QueueUrl=grave)["queueUrls"] == [url]
    sent = sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert receive(sqs, url) and receive(sqs, url) and not receive(sqs, url)
    (dead,) = receive(sqs, grave)
    assert dead["MessageId"] == sent["MessageId"] and dead["Attributes"]["DeadLetterQueueSourceArn"] == arn(
        sqs, url
    )
    nowhere = json.dumps({"deadLetterTargetArn": arn(sqs, grave) + "x", "maxReceiveCount": 2})
    error = refused(
        "InvalidParameterValue", sqs.create_queue, QueueName="p", Attributes={"RedrivePolicy": nowhere}
    )
    assert "Dead letter target does not exist" in str(error)


def test_a_fifo_queue_keeps_the_order_of_each_group(sqs: Any) -> None:
    options = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    url = sqs.create_queue(QueueName="q.fifo", Attributes=options)["QueueUrl"]
    for group, text in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")):
        assert sqs.send_message(QueueUrl=url, MessageBody=text, MessageGroupId=group)["SequenceNumber"]
    (first,) = receive(sqs, url)
    assert first["Body"] == "a1" and first["Attributes"]["MessageGroupId"] == "a"
    others = receive(sqs, url, MaxNumberOfMessages=10)
    assert [m["Body"] for m in others] == ["b1"]  # group a waits for its first message
    assert not receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)] == ["a2", "a3"]


def test_a_fifo_queue_takes_a_message_once(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sent = [
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g", MessageDeduplicationId="same")
        for body in ("one", "two")
    ]
    assert sent[0]["MessageId"] == sent[1]["MessageId"]
    assert sent[0]["SequenceNumber"] == sent[1]["SequenceNumber"]
    assert [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)] == ["one"]
    refused("MissingParameter", sqs.send_message, QueueUrl=url, MessageBody="x")
    error = refused(
        "InvalidParameterValue", sqs.send_message, QueueUrl=url, MessageBody="x", MessageGroupId="g"
    )
    assert "ContentBasedDeduplication" in str(error)


def test_purge_removes_all_that_was_sent(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    for i in range(30):
        sqs.send_message(QueueUrl=url, MessageBody=str(i))
    receive(sqs, url)
    sqs.purge_queue(QueueUrl=url)
    shown = attributes(sqs, url)
    assert shown["ApproximateNumberOfMessages"] == shown["ApproximateNumberOfMessagesNotVisible"] == "0"
    refused("PurgeQueueInProgress", sqs.purge_queue, QueueUrl=url)


def test_a_new_queue_of_an_old_name_is_empty(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="old")
    sqs.delete_queue(QueueUrl=url)
    assert sqs.create_queue(QueueName="q")["QueueUrl"] == url
    assert not receive(sqs, url)


def test_long_looks_at_a_queue_are_not_made_on_the_loop(
    sqs: Any, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a FIFO queue whose first group is held up, and for counts, all messages are looked at."""
    seen: set[tuple[str, str]] = set()
    decode = sqlite_tx._decode

    def seeing(kind: Any, body: str) -> Any:
        seen.add((kind.name, threading.current_thread().name))
        return decode(kind, body)

    monkeypatch.setattr(sqlite_tx, "_decode", seeing)
    url = sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    for n in "12":
        sqs.send_message(QueueUrl=url, MessageBody=n, MessageGroupId="g", MessageDeduplicationId=n)
    assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    assert attributes(sqs, url)["ApproximateNumberOfMessagesNotVisible"] == "1"
    on = {thread for kind, thread in seen if kind == "queue-message"}
    assert on and door._thread.name not in on


@pytest.mark.parametrize(
    ("code", "params"),
    [
        ("InvalidParameterValue", {"QueueName": "a b"}),
        ("InvalidParameterValue", {"QueueName": "a.fifo"}),
        ("InvalidParameterValue", {"QueueName": "a", "Attributes": {"FifoQueue": "true"}}),
        ("InvalidAttributeValue", {"QueueName": "a", "Attributes": {"VisibilityTimeout": "50000"}}),
        ("InvalidAttributeName", {"QueueName": "a", "Attributes": {"ContentBasedDeduplication": "true"}}),
        ("InvalidAttributeValue", {"QueueName": "a", "Attributes": {"RedrivePolicy": "{"}}),
        (
            "InvalidAttributeValue",
            {
                "QueueName": "a",
                "Attributes": {"RedrivePolicy": r'{"deadLetterTargetArn": "\ud800", "maxReceiveCount": 3}'},
            },
        ),
        ("InvalidAttributeValue", {"QueueName": "a", "Attributes": {"Policy": "["}}),
        (
            "InvalidParameterValue",
            {
                "QueueName": "a",
                "Attributes": {"RedriveAllowPolicy": '{"redrivePermission": "byQueue","sourceQueueArns": 5}'},
            },
        ),
        (
            "InvalidParameterValue",
            {"QueueName": "a", "Attributes": {"RedriveAllowPolicy": '{"redrivePermission": "some"}'}},
        ),
    ],
)
def test_queues_that_cannot_be(sqs: Any, code: str, params: dict[str, Any]) -> None:
    refused(code, sqs.create_queue, **params)


@pytest.mark.parametrize(
    ("code", "params"),
    [
        ("InvalidMessageContents", {"MessageBody": "\x00"}),
        ("MissingParameter", {"MessageBody": ""}),
        ("InvalidParameterValue", {"MessageBody": "m", "DelaySeconds": 901}),
        ("InvalidParameterValue", {"MessageBody": "x" * 1025}),
        (
            "InvalidParameterValue",
            {"MessageBody": "m", "MessageAttributes": {"a": {"DataType": "Text", "StringValue": "x"}}},
        ),
        (
            "InvalidParameterValue",
            {"MessageBody": "m", "MessageAttributes": {"a": {"DataType": "Number", "StringValue": "x"}}},
        ),
        (
            "InvalidParameterValue",
            {"MessageBody": "m", "MessageAttributes": {"aws.x": {"DataType": "String", "StringValue": "x"}}},
        ),
    ],
)
def test_messages_that_cannot_be(sqs: Any, code: str, params: dict[str, Any]) -> None:
    url = sqs.create_queue(QueueName="q", Attributes={"MaximumMessageSize": "1024"})["QueueUrl"]
    refused(code, sqs.send_message, QueueUrl=url, **params)
    assert not receive(sqs, url)


def test_a_client_may_have_the_url_of_a_queue_as_its_endpoint(sqs: Any, door: Door) -> None:
    """As older clients do by themselves."""
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="m")
    other = door.client("sqs", endpoint_url=url)
    assert [m["Body"] for m in receive(other, url)] == ["m"]


def test_permissions_are_recorded(sqs: Any) -> None:
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    given = {"QueueUrl": url, "Label": "l", "AWSAccountIds": ["111122223333"], "Actions": ["SendMessage"]}
    sqs.add_permission(**given)
    refused("InvalidParameterValue", sqs.add_permission, **given)
    (statement,) = json.loads(attributes(sqs, url)["Policy"])["Statement"]
    assert statement["Sid"] == "l" and statement["Action"] == ["SQS:SendMessage"]
    sqs.remove_permission(QueueUrl=url, Label="l")
    assert "Policy" not in attributes(sqs, url)
    refused("InvalidParameterValue", sqs.remove_permission, QueueUrl=url, Label="l")
