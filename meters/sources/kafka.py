"""Events from Kafka. Offsets are committed after the database has committed: nothing is lost, and what comes again
counts once.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import OperationalError, connection
from django.utils import timezone

from meters.events import Event, Rejection
from meters.ingest import ingest_events, record_rejections
from meters.sources.extras import load
from meters.sources.lines import UnreadableError
from meters.sources.mapping import ColumnMapping
from meters.sources.messages import Message, read_message

WAIT = 0.5
PATIENCE = 10
PAUSES = (1, 2, 4, 8, 15, 30)
MAX_SENDER = 100
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Consumed:
    messages: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0


@dataclass(slots=True)
class Topics:
    """A member of a consumer group. `settings` are librdkafka's."""

    brokers: str
    topics: list[str]
    group: str
    settings: Mapping[str, str] = field(default_factory=dict)
    _kafka: Any = field(default=None, init=False)
    _consumer: Any = field(default=None, init=False)
    _ended: set[tuple[str, int]] = field(default_factory=set)

    def __enter__(self) -> "Topics":
        """Raises UnreadableError when no broker answers or a topic does not exist."""
        self._kafka = load("confluent_kafka", extra="kafka", purpose="Reading Kafka")
        given = {"auto.offset.reset": "earliest", **self.settings}
        fixed = {
            "bootstrap.servers": self.brokers,
            "group.id": self.group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
        try:
            self._consumer = self._kafka.Consumer({**given, **fixed}, logger=log)
            for topic in self.topics:
                self._check(topic)
            self._consumer.subscribe(self.topics, on_assign=lambda *_: self._ended.clear())
        except self._kafka.KafkaException as error:
            raise UnreadableError(f"Kafka at {self.brokers}: {error.args[0].str()}.", code="unreachable") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def take(self, most: int) -> list[Message]:
        """The next messages, or none for now. Raises UnreadableError."""
        messages = []
        for each in self._consumer.consume(most, WAIT):
            error = each.error()
            if error is None:
                self._ended.discard((each.topic(), each.partition()))
                headers = tuple((name, value or b"") for name, value in each.headers() or ())
                messages.append(Message(each.topic(), each.partition(), each.offset(), each.value(), headers))
            elif error.code() == self._kafka.KafkaError._PARTITION_EOF:
                self._ended.add((each.topic(), each.partition()))
            else:
                raise UnreadableError(f"Kafka: {error.str()}.", code="kafka")
        return messages

    @property
    def at_end(self) -> bool:
        """Whether all that was there has been taken."""
        assigned = {(each.topic, each.partition) for each in self._consumer.assignment()}
        return bool(assigned) and assigned <= self._ended

    def commit(self, messages: Iterable[Message]) -> None:
        """Have them never sent again. When the group was dealt anew meanwhile, they are: that does no harm."""
        after: dict[tuple[str, int], int] = {}
        for each in messages:
            after[each.topic, each.partition] = each.offset + 1
        offsets = [self._kafka.TopicPartition(*place, offset) for place, offset in after.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except self._kafka.KafkaException as error:
            reason = error.args[0]
            codes = self._kafka.KafkaError
            if reason.code() not in {codes.ILLEGAL_GENERATION, codes.UNKNOWN_MEMBER_ID, codes.REBALANCE_IN_PROGRESS}:
                raise UnreadableError(f"Kafka: {reason.str()}.", code="kafka") from None
            log.warning("Offsets were not committed: %s. The messages come again.", reason.str())

    def _check(self, topic: str) -> None:
        found = self._consumer.list_topics(topic, timeout=PATIENCE).topics[topic]
        if found.error is not None:
            raise UnreadableError(f"Topic {topic}: {found.error.str()}.", code="missing_topic")


def consume(
    topics: Topics,
    mapping: ColumnMapping,
    *,
    batch: int,
    stop: Callable[[], bool],
    once: bool = False,
    took: Callable[[Consumed], None] = lambda _: None,
) -> Consumed:
    """Take messages until `stop` says so; with `once`, until there are no more."""
    total = Consumed()
    while not stop():
        messages = topics.take(batch)
        if messages:
            _ingest(messages, mapping, total)
            topics.commit(messages)
            took(total)
        elif once and topics.at_end:
            break
    return total


def _ingest(messages: list[Message], mapping: ColumnMapping, total: Consumed) -> None:
    now = timezone.now()
    read = [(each, message) for message in messages for each in read_message(message, mapping, now)]
    rejected = [(each, message.topic) for each, message in read if isinstance(each, Rejection)]
    events = [each for each, _ in read if isinstance(each, Event)]
    result = _patiently(partial(ingest_events, events))
    for topic in sorted({topic for _, topic in rejected}):
        mine = [each for each, its_topic in rejected if its_topic == topic]
        _patiently(partial(record_rejections, mine, f"kafka {topic}"[:MAX_SENDER]))
    total.messages += len(messages)
    total.accepted += result.accepted
    total.duplicates += result.duplicates
    total.conflicts += len(result.conflicts)
    total.rejected += len(rejected)


def _patiently(verb: Callable[[], Any]) -> Any:
    """A database that is restarted costs a pause, not the consumer's place in its group."""
    for pause in PAUSES:
        try:
            return verb()
        except OperationalError as error:
            log.warning("The database does not answer (%s); trying again in %s s.", error, pause)
            connection.close()
            time.sleep(pause)
    return verb()
