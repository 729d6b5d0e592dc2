"""Each vendor's own client, installed from its registry and pointed at us: nothing else changes."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import metronome
import openmeter
import openmeter.aio
import orb
import pytest
import requests
import stripe
from cloudevents.conversion import to_binary, to_json, to_structured
from cloudevents.http import CloudEvent
from corehttp.exceptions import ClientAuthenticationError, HttpResponseError
from django.test import override_settings
from django.utils import timezone
from lago_python_client.exceptions import LagoApiError, LagoRateLimitError
from lago_python_client.models.event import BatchEvent
from lago_python_client.models.event import Event as LagoEvent
from openmeter.models import Event as OpenMeterEvent
from rest_framework.exceptions import APIException

from billing_project.models import ApiKey, Scope
from meters.api import stripe_sessions, taking
from meters.ingest import ingest_events
from meters.models import Conflict, Event, RejectedEvent
from tests.meters.sdk_clients import TIME, Site, emptied, running_server, site_with_key, stored  # noqa: F401

pytestmark = emptied

UNITS = {"units": 3, "model": "small"}
ISO = "2026-01-05T10:00:00Z"
SECONDS = 1767607200
WRONG_KEY = "ch_00000000_wrong"


# One event through each client; the same id each time.
def send_openmeter(site: Site, id_: str = "a-1", **more: Any) -> None:
    given = {"source": "", "specversion": "1.0", "type": "llm", "subject": "acme", "time": TIME, "data": UNITS, **more}
    site.openmeter().events.ingest_event(OpenMeterEvent(id=id_, **given))


def send_lago(site: Site, id_: str = "a-1", **more: Any) -> Any:
    given = {"external_subscription_id": "acme", "code": "llm", "timestamp": SECONDS, "properties": UNITS, **more}
    return site.lago().events.create(LagoEvent(transaction_id=id_, **given))


def send_metronome(site: Site, id_: str = "a-1", **more: Any) -> None:
    event: Any = {"customer_id": "acme", "event_type": "llm", "timestamp": ISO, "properties": UNITS, **more}
    site.metronome().v1.usage.ingest(usage=[event | {"transaction_id": id_}])


def send_orb(site: Site, id_: str = "a-1", **more: Any) -> Any:
    event: Any = {"external_customer_id": "acme", "event_name": "llm", "timestamp": TIME, "properties": UNITS, **more}
    return site.orb().events.ingest(events=[event | {"idempotency_key": id_}])


def send_stripe_v1(site: Site, id_: str = "a-1", **more: Any) -> Any:
    payload = {"stripe_customer_id": "acme", "units": "3", "model": "small"}
    event: Any = {"event_name": "llm", "payload": payload, "timestamp": SECONDS, **more}
    return site.stripe().v1.billing.meter_events.create(event | {"identifier": id_})


def send_stripe_v2(site: Site, id_: str = "a-1", **more: Any) -> Any:
    payload = {"stripe_customer_id": "acme", "units": "3", "model": "small"}
    event: Any = {"event_name": "llm", "payload": payload, "timestamp": ISO, **more}
    return site.stripe().v2.billing.meter_events.create(event | {"identifier": id_})


def send_stripe_stream(site: Site, id_: str = "a-1", **more: Any) -> None:
    payload = {"stripe_customer_id": "acme", "units": "3", "model": "small"}
    event: Any = {"event_name": "llm", "payload": payload, "timestamp": ISO, **more}
    session = site.stripe().v2.billing.meter_event_session.create()
    stream = site.stripe(session.authentication_token).v2.billing.meter_event_stream
    stream.create({"events": [event | {"identifier": id_}]})


CLIENTS: dict[str, Callable[..., Any]] = {
    "openmeter": send_openmeter,
    "lago": send_lago,
    "metronome": send_metronome,
    "orb": send_orb,
    "stripe v1": send_stripe_v1,
    "stripe v2": send_stripe_v2,
    "stripe stream": send_stripe_stream,
}
# What each raises when an event is refused, and when the key is wrong.
REFUSED: dict[str, type[Exception]] = {
    "openmeter": HttpResponseError,
    "lago": LagoApiError,
    "metronome": metronome.BadRequestError,
    "orb": orb.BadRequestError,
    "stripe v1": stripe.InvalidRequestError,
    "stripe v2": stripe.InvalidRequestError,
    "stripe stream": stripe.InvalidRequestError,
}
UNKNOWN: dict[str, type[Exception]] = {
    "openmeter": ClientAuthenticationError,
    "lago": LagoApiError,
    "metronome": metronome.AuthenticationError,
    "orb": orb.AuthenticationError,
    "stripe v1": stripe.AuthenticationError,
    "stripe v2": stripe.AuthenticationError,
    "stripe stream": stripe.AuthenticationError,
}
every_client = pytest.mark.parametrize("client", CLIENTS)


def status_of(error: Any) -> int:
    found = [getattr(error, name, None) for name in ("status_code", "http_status")]
    return int(next(each for each in found if each is not None))


@every_client
def test_one_event_and_the_same_again(site: Site, client: str) -> None:
    CLIENTS[client](site)
    CLIENTS[client](site)
    units = {"units": "3", "model": "small"} if client.startswith("stripe") else UNITS
    assert stored() == [("acme", "llm", TIME, units)]
    assert not Conflict.objects.exists()


@every_client
def test_another_event_under_the_same_id_is_refused_and_listed(site: Site, client: str) -> None:
    CLIENTS[client](site)
    with pytest.raises(REFUSED[client]) as caught:
        CLIENTS[client](site, **{"type" if client == "openmeter" else TYPE_NAMES[client]: "other"})
    assert status_of(caught.value) == (422 if client == "lago" else 400)
    assert "another body" in text_of(caught.value)
    assert Event.objects.count() == 1
    assert [each.event_id for each in Conflict.objects.all()] == ["a-1"]


TYPE_NAMES = {
    "lago": "code",
    "metronome": "event_type",
    "orb": "event_name",
    "stripe v1": "event_name",
    "stripe v2": "event_name",
    "stripe stream": "event_name",
}


def text_of(error: Any) -> str:
    """What a client's exception holds of the answer."""
    if isinstance(error, HttpResponseError):
        return str(error.response.text())  # type: ignore[union-attr]
    if isinstance(error, LagoApiError):
        return json.dumps(error.response)
    if isinstance(error, stripe.StripeError):
        return str(error.user_message)
    return json.dumps(error.body)


@every_client
def test_a_bad_event_raises_and_is_kept_with_its_reason(site: Site, client: str) -> None:
    with pytest.raises(REFUSED[client]) as caught:
        CLIENTS[client](site, id_="x" * 300)
    assert status_of(caught.value) == (422 if client == "lago" else 400)
    assert "at most 256 characters" in text_of(caught.value)
    (kept,) = RejectedEvent.objects.all()
    assert (kept.code, kept.sender) == ("too_long", "Tests")
    assert not Event.objects.exists()


@every_client
def test_an_unknown_key(site: Site, client: str) -> None:
    with pytest.raises(UNKNOWN[client]) as caught:
        CLIENTS[client](site.with_key(WRONG_KEY))
    assert status_of(caught.value) == 401
    assert not Event.objects.exists()


@every_client
def test_a_key_that_may_not_ingest(site: Site, client: str) -> None:
    _, reader = ApiKey.issue("Reads", [Scope.READ])
    with pytest.raises(
        (HttpResponseError, LagoApiError, metronome.APIError, orb.APIError, stripe.StripeError)
    ) as caught:
        CLIENTS[client](site.with_key(reader))
    assert status_of(caught.value) == 403


class Busy(APIException):
    status_code = 503
    wait = 1


class Slower(APIException):
    status_code = 429
    wait = 1


BUSY: dict[str, tuple[type[Exception], type[Exception]]] = {
    "openmeter": (HttpResponseError, HttpResponseError),
    "lago": (LagoApiError, LagoRateLimitError),
    "metronome": (metronome.InternalServerError, metronome.RateLimitError),
    "orb": (orb.InternalServerError, orb.RateLimitError),
    "stripe v1": (stripe.APIError, stripe.RateLimitError),
    "stripe v2": (stripe.APIError, stripe.RateLimitError),
    "stripe stream": (stripe.APIError, stripe.RateLimitError),
}


@every_client
@pytest.mark.parametrize("trouble", [Busy, Slower])
def test_a_busy_server_is_told_apart(
    site: Site, client: str, trouble: type[APIException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(taking, "ingest_together", refuse)
    monkeypatch.setattr("time.sleep", lambda _: None)  # openmeter and lago wait and try again of themselves
    with pytest.raises(BUSY[client][trouble is Slower]) as caught:
        CLIENTS[client](site)
    assert status_of(caught.value) == trouble.status_code


@pytest.mark.parametrize("trouble", [Busy, Slower])
@pytest.mark.parametrize("client", ["metronome", "orb"])
def test_clients_that_try_again_wait_as_long_as_they_are_told(
    site: Site, client: str, trouble: type[APIException], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    tried: list[int] = []

    def first_refuse(events: Any) -> Any:
        tried.append(len(events))
        if len(tried) == 1:
            raise trouble
        return ingest_events(events)

    monkeypatch.setattr(taking, "ingest_together", first_refuse)
    monkeypatch.setattr("time.sleep", waits.append)
    event: Any
    if client == "metronome":
        event = {"transaction_id": "a", "customer_id": "acme", "event_type": "llm", "timestamp": ISO}
        site.metronome(retries=1).v1.usage.ingest(usage=[event])
    else:
        event = {"idempotency_key": "a", "customer_id": "acme", "event_name": "llm", "timestamp": ISO, "properties": {}}
        site.orb(retries=1).events.ingest(events=[event])
    assert waits == [2]
    assert Event.objects.count() == 1


class TestOpenMeter:
    def batch(self, *ids: str) -> list[OpenMeterEvent]:
        return [
            OpenMeterEvent(
                id=id_, source="gateway", specversion="1.0", type="llm", subject="acme", time=TIME, data={"units": 0.1}
            )
            for id_ in ids
        ]

    def test_batches_in_both_content_types(self, site: Site) -> None:
        site.openmeter().events.ingest_events(self.batch("a", "b"))
        site.openmeter().events.ingest_events_json(self.batch("b", "c"))
        assert stored() == [("acme", "llm", TIME, {"units": 0.1})] * 3

    def test_one_event_as_plain_json(self, site: Site) -> None:
        (event,) = self.batch("a")
        site.openmeter().events.ingest_events_json(event)
        assert Event.objects.count() == 1

    def test_the_asynchronous_client(self, site: Site) -> None:
        async def send() -> None:
            async with openmeter.aio.Client(endpoint=site.url, token=site.secret) as client:
                await client.events.ingest_events(self.batch("a", "b"))

        asyncio.run(send())
        assert Event.objects.count() == 2

    def test_the_problem_is_read_by_the_client(self, site: Site) -> None:
        good, bad = self.batch("a", "b")
        bad.subject = ""
        with pytest.raises(HttpResponseError) as caught:
            site.openmeter().events.ingest_events([good, bad])
        model: Any = caught.value.model
        assert (model.status, model.title) == (400, "Bad Request")
        assert model.detail == (
            "1 of 2 events were rejected; the others are stored. The first one, [1].subject: `subject` is empty."
        )
        assert Event.objects.count() == 1


class TestLago:
    def event(self, id_: str, **more: Any) -> LagoEvent:
        given = {"external_subscription_id": "acme", "code": "llm", "timestamp": "1767607200.25", **more}
        return LagoEvent(transaction_id=id_, **given)

    def test_the_answer_is_an_event(self, site: Site) -> None:
        answer = site.lago().events.create(self.event("a", properties={"units": 1.5}))
        assert answer is not None
        assert (answer.transaction_id, answer.external_subscription_id, answer.code) == ("a", "acme", "llm")
        assert answer.timestamp == "2026-01-05T10:00:00.250Z"
        assert answer.properties == {"units": 1.5}

    def test_a_batch(self, site: Site) -> None:
        site.lago().events.batch_create(BatchEvent(events=[self.event("a"), self.event("b"), self.event("a")]))
        assert Event.objects.count() == 2

    def test_a_bad_event_in_a_batch(self, site: Site) -> None:
        with pytest.raises(LagoApiError) as caught:
            site.lago().events.batch_create(BatchEvent(events=[self.event("a"), self.event("b", timestamp="soon")]))
        assert caught.value.status_code == 422
        assert caught.value.response["error_details"] == {"1": {"timestamp": ["invalid_time"]}}
        assert Event.objects.count() == 1

    def test_a_bad_event_alone(self, site: Site) -> None:
        with pytest.raises(LagoApiError) as caught:
            site.lago().events.create(self.event("b", timestamp="soon"))
        assert caught.value.response["error_details"] == {"timestamp": ["invalid_time"]}
        assert caught.value.response["code"] == "validation_errors"

    def test_without_a_time_a_retry_is_the_same_event(self, site: Site) -> None:
        before = timezone.now()
        first = site.lago().events.create(self.event("a", timestamp=None))
        again = site.lago().events.create(self.event("a", timestamp=None))
        assert first is not None
        assert again is not None
        assert first.timestamp == again.timestamp
        ((_, _, time, _),) = stored()
        assert before <= time <= timezone.now()
        assert not Conflict.objects.exists()


class TestMetronome:
    def test_a_batch(self, site: Site) -> None:
        events: Any = [
            {
                "transaction_id": f"a-{n}",
                "customer_id": "acme",
                "event_type": "llm",
                "timestamp": ISO,
                "properties": UNITS,
            }
            for n in range(250)
        ]
        client = site.metronome()
        client.v1.usage.ingest(usage=events)
        client.v1.usage.ingest(usage=events[100:])
        assert Event.objects.count() == 250

    def test_good_events_beside_a_bad_one_are_kept(self, site: Site) -> None:
        good: Any = {"transaction_id": "a", "customer_id": "acme", "event_type": "llm", "timestamp": ISO}
        bad: Any = {**good, "transaction_id": "b", "timestamp": "2026-01-05T10:00:00"}
        with pytest.raises(metronome.BadRequestError) as caught:
            site.metronome().v1.usage.ingest(usage=[bad, good])
        body: Any = caught.value.body
        assert "Event 0: `timestamp` needs an offset" in body["message"]
        assert body["errors"][0]["path"] == "[0].timestamp"
        assert Event.objects.count() == 1

    def test_the_asynchronous_client(self, site: Site) -> None:
        event: Any = {"transaction_id": "a", "customer_id": "acme", "event_type": "llm", "timestamp": ISO}

        async def send() -> None:
            async with metronome.AsyncMetronome(bearer_token=site.secret, base_url=site.url) as client:
                await client.v1.usage.ingest(usage=[event])

        asyncio.run(send())
        assert Event.objects.count() == 1


class TestOrb:
    def event(self, id_: str, **more: Any) -> Any:
        given = {"event_name": "llm", "timestamp": TIME, "properties": UNITS, "external_customer_id": "acme"}
        return {"idempotency_key": id_, **given, **more}

    def test_the_answer_names_no_failures(self, site: Site) -> None:
        answer = site.orb().events.ingest(events=[self.event("a"), self.event("b")])
        assert answer.validation_failed == []
        assert Event.objects.count() == 2

    def test_a_time_without_offset_is_utc(self, site: Site) -> None:
        site.orb().events.ingest(events=[self.event("a", timestamp=TIME.replace(tzinfo=None))])
        assert stored() == [("acme", "llm", TIME, UNITS)]

    def test_what_failed_is_named_by_its_key(self, site: Site) -> None:
        bad = self.event("b", external_customer_id=None)
        with pytest.raises(orb.RequestValidationError) as caught:
            site.orb().events.ingest(events=[self.event("a"), bad])
        body: Any = caught.value.body
        message = "`external_customer_id` is missing."
        assert body["validation_failed"] == [{"idempotency_key": "b", "validation_errors": [message]}]
        assert caught.value.validation_errors == [message]
        assert Event.objects.count() == 1

    def test_the_problems_type_chooses_the_exception(self, site: Site) -> None:
        with pytest.raises(orb.OrbAuthenticationError):
            site.with_key(WRONG_KEY).orb().events.ingest(events=[self.event("a")])
        too_many = [self.event(f"{n}") for n in range(10_001)]
        with pytest.raises(orb.RequestTooLarge):
            site.orb().events.ingest(events=too_many)


class TestStripe:
    def test_v1_answers_with_a_meter_event(self, site: Site) -> None:
        answer = send_stripe_v1(site)
        assert isinstance(answer, stripe.billing.MeterEvent)
        assert (answer.object, answer.event_name, answer.identifier) == ("billing.meter_event", "llm", "a-1")
        assert answer.timestamp == SECONDS
        assert answer.payload["stripe_customer_id"] == "acme"
        assert answer.livemode is True

    def test_v1_by_the_module(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stripe, "api_base", site.url)
        monkeypatch.setattr(stripe, "api_key", site.secret)
        stripe.billing.MeterEvent.create(event_name="llm", payload={"stripe_customer_id": "acme", "value": "2.50"})
        ((customer, _, _, properties),) = stored()
        assert (customer, properties) == ("acme", {"value": "2.50"})

    def test_v2_answers_with_a_meter_event(self, site: Site) -> None:
        answer = send_stripe_v2(site)
        assert (answer.object, answer.identifier, answer.timestamp) == (
            "v2.billing.meter_event",
            "a-1",
            "2026-01-05T10:00:00.000Z",
        )

    @pytest.mark.parametrize("send", [send_stripe_v1, send_stripe_v2])
    def test_the_parameter_is_named(self, site: Site, send: Callable[..., Any]) -> None:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            send(site, payload={"value": "5"})
        assert caught.value.param == "payload[stripe_customer_id]"
        assert caught.value.code == "required"

    @pytest.mark.parametrize("send", [send_stripe_v1, send_stripe_v2])
    def test_a_value_that_is_no_number_is_refused(self, site: Site, send: Callable[..., Any]) -> None:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            send(site, payload={"stripe_customer_id": "acme", "value": "NaN"})
        assert (caught.value.param, caught.value.code) == ("payload[value]", "invalid_number")
        assert caught.value.http_status == 400
        assert stored() == []

    @pytest.mark.parametrize("kind", ["v1", "v2"])
    def test_only_a_name_and_a_payload(self, site: Site, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither identifier nor time: the client's idempotency key tells its retries from a new event."""
        tried: list[int] = []

        def lose_the_first_answer(events: Any) -> Any:
            tried.append(len(events))
            result = ingest_events(events)
            if len(tried) == 1:
                raise Busy
            return result

        monkeypatch.setattr(taking, "ingest_together", lose_the_first_answer)
        monkeypatch.setattr("time.sleep", lambda _: None)
        billing = getattr(site.stripe(retries=2), kind).billing
        params = {"event_name": "llm", "payload": {"stripe_customer_id": "acme", "value": "5"}}
        answer = billing.meter_events.create(params)
        assert len(tried) == 2
        assert Event.objects.count() == 1
        assert answer.identifier
        assert billing.meter_events.create(params).identifier != answer.identifier
        assert Event.objects.count() == 2
        assert not Conflict.objects.exists()

    def test_the_stream_takes_many(self, site: Site) -> None:
        payload = {"stripe_customer_id": "acme", "value": "1"}
        events: Any = [{"event_name": "llm", "identifier": f"a-{n}", "payload": payload} for n in range(100)]
        session = site.stripe().v2.billing.meter_event_session.create()
        assert (session.object, session.livemode) == ("v2.billing.meter_event_session", True)
        stream = site.stripe(session.authentication_token).v2.billing.meter_event_stream
        stream.create({"events": events})
        stream.create({"events": events})
        assert Event.objects.count() == 100
        assert not Conflict.objects.exists()

    def test_an_expired_session(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        session = site.stripe().v2.billing.meter_event_session.create()
        monkeypatch.setattr(stripe_sessions, "LIFETIME", timedelta(seconds=-1))
        with pytest.raises(stripe.TemporarySessionExpiredError):
            site.stripe(session.authentication_token).v2.billing.meter_event_stream.create({"events": []})

    def test_a_session_is_for_the_stream_and_as_long_as_its_key(self, site: Site) -> None:
        session = site.stripe().v2.billing.meter_event_session.create()
        token = session.authentication_token
        payload = {"stripe_customer_id": "acme"}
        with pytest.raises(stripe.AuthenticationError):
            site.stripe(token).v2.billing.meter_events.create({"event_name": "llm", "payload": payload})
        with pytest.raises(stripe.AuthenticationError):
            site.stripe(token[:-1] + "~").v2.billing.meter_event_stream.create({"events": []})
        ApiKey.objects.get().revoke()
        with pytest.raises(stripe.AuthenticationError):
            site.stripe(token).v2.billing.meter_event_stream.create({"events": []})

    def test_the_stream_takes_a_key_as_well(self, site: Site) -> None:
        site.stripe().v2.billing.meter_event_stream.create({"events": []})

    def test_another_word_for_the_customer(self, site: Site) -> None:
        with override_settings(STRIPE_CUSTOMER_NAMES=["tenant"]):
            send_stripe_v1(site, payload={"tenant": "bolt", "value": "1"})
        assert [(customer, properties) for customer, _, _, properties in stored()] == [("bolt", {"value": "1"})]


class TestCloudEvents:
    def event(self, **attributes: Any) -> CloudEvent:
        given = {"id": "a", "source": "gateway", "type": "llm", "subject": "acme", "time": ISO, **attributes}
        return CloudEvent(given, {"units": 3})

    def post(self, site: Site, headers: Any, body: Any) -> requests.Response:
        headers = {**headers, "Authorization": f"Bearer {site.secret}"}
        return requests.post(f"{site.url}/api/v1/events", headers=headers, data=body, timeout=10)

    def test_structured_binary_and_batch_are_the_same_event(self, site: Site) -> None:
        for make in (to_structured, to_binary):
            headers, body = make(self.event())
            assert self.post(site, headers, body).status_code == 204
        batch = b"[" + to_json(self.event()) + b"]"
        assert self.post(site, {"Content-Type": "application/cloudevents-batch+json"}, batch).status_code == 204
        assert stored() == [("acme", "llm", TIME, {"units": 3})]
        assert not Conflict.objects.exists()

    def test_binary_headers_are_percent_encoded(self, site: Site) -> None:
        headers = {"ce-id": "a%C3%A9", "ce-source": "s", "ce-type": "llm", "ce-subject": "Caf%C3%A9", "ce-time": ISO}
        answer = self.post(site, {"ce-specversion": "1.0", "Content-Type": "application/json", **headers}, b"{}")
        assert answer.status_code == 204
        assert stored()[0][0] == "Café"

    @pytest.mark.parametrize(
        ("headers", "body", "code"),
        [
            ({"ce-id": ""}, b"{}", "blank"),
            ({"ce-time": "soon"}, b"{}", "invalid_time"),
            ({"ce-specversion": "0.3"}, b"{}", "unknown_specversion"),
            ({"ce-type": "%ff"}, b"{}", "not_utf8"),
            ({}, b"[1]", "not_an_object"),
            ({}, b'{"a": 1}, {"b": 2}', "malformed_json"),
            ({}, b'{"a": 1}, "id": "b"', "malformed_json"),
            ({}, b'{"a": ', "malformed_json"),
            ({}, b'{"a": 1, "a": 2}', "repeated_key"),
        ],
    )
    def test_bad_binary_events(self, site: Site, headers: dict[str, str], body: bytes, code: str) -> None:
        good = {"ce-id": "a", "ce-source": "s", "ce-type": "llm", "ce-subject": "acme", "ce-time": ISO}
        sent = {"ce-specversion": "1.0", "Content-Type": "application/json", **good, **headers}
        answer = self.post(site, sent, body)
        assert answer.status_code == 400
        assert [each["code"] for each in answer.json()["errors"]] == [code]

    def test_binary_without_data(self, site: Site) -> None:
        headers = {"ce-specversion": "1.0", "ce-id": "a", "ce-type": "llm", "ce-subject": "acme", "ce-time": ISO}
        assert self.post(site, headers, None).status_code == 204
        assert stored() == [("acme", "llm", TIME, {})]

    def test_an_attribute_called_event_does_not_make_it_lagos(self, site: Site) -> None:
        body = {"event": "x", "id": "a", "type": "llm", "customer": "acme", "time": ISO}
        answer = self.post(site, {"Content-Type": "application/json"}, json.dumps(body))
        assert answer.status_code == 204
        assert stored()[0][0] == "acme"


def test_the_same_event_from_two_clients_counts_once(site: Site) -> None:
    """Moving from one client to another: all formats without a source share one."""
    send_metronome(site)
    send_orb(site)
    send_lago(site)
    send_openmeter(site)
    assert Event.objects.count() == 1
    send_openmeter(site, source="gateway")
    assert Event.objects.count() == 2, "with a source of its own it is another event"


def test_gzip_is_taken_everywhere(site: Site) -> None:
    import gzip

    event = {"transaction_id": "a", "customer_id": "acme", "event_type": "llm", "timestamp": ISO}
    headers = {
        "Authorization": f"Bearer {site.secret}",
        "Content-Encoding": "gzip",
        "Content-Type": "application/json",
    }
    body = gzip.compress(json.dumps([event]).encode())
    answer = requests.post(f"{site.url}/v1/ingest", headers=headers, data=body, timeout=10)
    assert (answer.status_code, answer.json()) == (200, {})
    answer = requests.post(f"{site.url}/v1/ingest", headers=headers, data=body[:-9], timeout=10)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "bad_gzip"


@pytest.mark.parametrize("path", ["/v1/customers", "/v2/core/events", "/ingest/more"])
def test_what_these_clients_ask_beside_that_is_not_there(site: Site, path: str) -> None:
    answer = requests.post(f"{site.url}{path}", timeout=10)
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "not_found"
