"""Kafka, on librdkafka's own mock cluster: nothing lost, nothing counted twice."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError

from meters.events import Event as UsageEvent
from meters.events import Rejection
from meters.ingest import ingest_events
from meters.models import Event, RejectedEvent
from meters.sources import kafka
from meters.sources.mapping import ColumnMapping
from meters.sources.messages import Message, read_message
from tests.processes import environment

NOW = datetime(2026, 1, 6, tzinfo=UTC)
# So long the mock brokers wait for a member that has left; it must be more than the 3 s they wait for the first.
QUICK = ["--config", "session.timeout.ms=4000", "--config", "heartbeat.interval.ms=500"]
# The same member come back: nobody waits for the one that was killed.
SAME = ["--config", "group.instance.id=one"]
CLOUD = {"specversion": "1.0", "source": "s", "type": "llm", "subject": "acme", "time": "2026-01-05T10:00:00Z"}


def cloud_event(number: int) -> bytes:
    return json.dumps({**CLOUD, "id": f"e{number}", "data": {"tokens": number}}).encode()


def read(value: bytes | None, mapping: ColumnMapping = ColumnMapping(), **headers: bytes) -> list[Any]:  # noqa: B008
    return read_message(Message("usage", 3, 7, value, tuple(headers.items())), mapping, NOW)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Producer]:
    """The brokers live in the producer."""
    producer = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "ignored", "log_level": 0})
    yield producer
    producer.flush(5)


@pytest.fixture
def produce(cluster: Producer, request: pytest.FixtureRequest) -> Callable[..., tuple[str, str]]:
    """Send values to a topic of this test's own; returns the brokers and the topic."""
    topic = request.node.name.partition("[")[0][-60:]

    def send(*values: bytes | None) -> tuple[str, str]:
        for number, value in enumerate(values):
            cluster.produce(topic, value, key=str(number))
        assert cluster.flush(20) == 0
        brokers = cluster.list_topics(timeout=10).brokers.values()
        return ",".join(f"{each.host}:{each.port}" for each in brokers), topic

    return send


def consume(brokers: str, topic: str, *more: str) -> str:
    out = StringIO()
    place = ["--brokers", brokers, "--topic", topic, "--group", topic, "--once", *QUICK]
    call_command("consume_kafka", *place, *more, stdout=out)
    return out.getvalue()


def test_cloudevents_structured_binary_and_in_batches() -> None:
    (structured,) = read(cloud_event(1))
    binary = read(
        b'{"tokens": 1}',
        ce_specversion=b"1.0", ce_id=b"e1", ce_source=b"s", ce_type=b"llm", ce_subject=b"acme",
        ce_time=b"2026-01-05T10:00:00Z",
    )  # fmt: skip
    assert binary == [structured]
    assert read(b"[" + cloud_event(1) + b"," + cloud_event(2) + b"]")[0] == structured


def test_json_under_a_mapping() -> None:
    mapping = ColumnMapping(type="llm", id_from_row=True, time="at", customer="org", source="kafka")
    (event,) = read(b'{"at": "2026-01-05T10:00:00Z", "org": 12, "tokens": 0.10}', mapping)
    assert isinstance(event, UsageEvent)
    assert (event.id, event.customer, event.properties) == ("usage/3#7", "12", b'{"tokens":0.10}')


@pytest.mark.parametrize(
    ("value", "mapping", "code"),
    [
        (None, ColumnMapping(), "malformed_json"),
        (b"{", ColumnMapping(), "malformed_json"),
        (b"\xff", ColumnMapping(), "not_utf8"),
        (b"{}", ColumnMapping(), "required"),
        (b"[" * 1000 + b"]" * 1000, ColumnMapping(), "too_deep"),
        (None, ColumnMapping(type="t"), "not_an_object"),
        (b"[1]", ColumnMapping(type="t"), "not_an_object"),
        (b'{"a": 1}', ColumnMapping(type="t"), "mapping"),
        (b'{"id":"1","id":"2","time":"","customer":""}', ColumnMapping(type="t"), "repeated_key"),
        (b'{"id":"1","time":"never","customer":"c"}', ColumnMapping(type="t"), "invalid_time"),
    ],
)
def test_a_broken_message_is_a_rejection_that_names_its_place(
    value: bytes | None, mapping: ColumnMapping, code: str
) -> None:
    (rejection,) = read(value, mapping)
    assert isinstance(rejection, Rejection)
    assert rejection.code == code
    assert rejection.message.endswith("(topic usage, partition 3, offset 7)")


def test_binary_mode_lets_nothing_slip_into_the_envelope() -> None:
    (rejection,) = read(b'{}, "id": "other"', ce_specversion=b"1.0", ce_id=b"e1")
    assert isinstance(rejection, Rejection)
    (broken,) = read(b"{}", ce_specversion=b"1.0", ce_id=b"\xff")
    assert isinstance(broken, Rejection)


@pytest.mark.usefixtures("committed")
def test_messages_become_events_once_though_the_database_is_away_for_a_moment(
    produce: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OperationalError("the server is starting up")] * 2

    def shaky(events: Any) -> Any:
        if failures:
            raise failures.pop()
        return ingest_events(events)

    monkeypatch.setattr(kafka, "ingest_events", shaky)
    monkeypatch.setattr(kafka, "PAUSES", (0, 0, 0))
    place = produce(*(cloud_event(number) for number in range(50)), b"broken", cloud_event(7))
    assert consume(*place) == "52 messages: 50 events are new, 1 were there before, 0 in conflict, 1 rejected.\n"
    assert not failures
    assert RejectedEvent.objects.get().sender == f"kafka {place[1]}"
    assert consume(*place, "--group", "another").startswith("52 messages: 0 events are new, 51 were there before")
    assert Event.objects.count() == 50


KILLED = """
import os, sys, django
django.setup()
import confluent_kafka
from django.core.management import call_command

class Killed(confluent_kafka.Consumer):
    def commit(self, *args, **given):
        os.kill(os.getpid(), 9)

confluent_kafka.Consumer = Killed
topic = sys.argv[2]
call_command("consume_kafka", "--brokers", sys.argv[1], "--topic", topic, "--group", topic, "--once", *sys.argv[3:])
"""


@pytest.mark.usefixtures("committed")
def test_killed_between_the_database_and_the_offsets_nothing_counts_twice(
    produce: Callable[..., tuple[str, str]],
) -> None:
    place = produce(*(cloud_event(number) for number in range(30)))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *place, *QUICK, *SAME],
        env=environment(DJANGO_SETTINGS_MODULE="billing_project.settings"),
        cwd=settings.BASE_DIR,
    )
    assert killed.returncode == -9
    stored = Event.objects.count()
    assert stored > 0
    assert consume(*place, *SAME) == (
        f"30 messages: {30 - stored} events are new, {stored} were there before, 0 in conflict, 0 rejected.\n"
    )
    assert Event.objects.count() == 30


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--brokers", "127.0.0.1:9", "--config", "socket.timeout.ms=500"], "Kafka at 127.0.0.1:9: "),
        (["--config", "no.such.setting=1"], "No such configuration property"),
        (["--config-file", "/nowhere"], "--config-file /nowhere"),
        (["--batch", "0"], "--batch lies between 1 and 10,000"),
    ],
)
def test_what_it_refuses(more: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "PATIENCE", 1)
    with pytest.raises(CommandError) as caught:
        consume("127.0.0.1:9", "usage", *more)
    assert said in str(caught.value)


def test_a_topic_that_does_not_exist(cluster: Producer, produce: Callable[..., tuple[str, str]]) -> None:
    brokers, _ = produce()
    with pytest.raises(CommandError, match="Topic nowhere: "):
        consume(brokers, "nowhere", "--config", "allow.auto.create.topics=false")


def test_passwords_come_from_a_file(tmp_path: Path) -> None:
    from meters.management.commands.consume_kafka import _read_config

    (tmp_path / "kafka").write_text("# ours\nsasl.username=us\nsasl.password=a=b\n")
    assert _read_config(tmp_path / "kafka") == {"sasl.username": "us", "sasl.password": "a=b"}


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(CommandError, match=r"Reading Kafka needs confluent_kafka: install countinghouse\[kafka\]\."):
        consume("127.0.0.1:9", "usage")
