"""Ways in for clients of other billing systems: their paths, their formats, their answers; the same verb behind."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_project.api import MEDIA_TYPE, Caller, TooLarge, problem, problem_response, requires
from billing_project.errors import Problem
from billing_project.models import Scope
from meters.api.parsers import Body, FormParser, JsonParser
from meters.api.stripe_sessions import SessionAuthentication, new_session
from meters.api.taking import take
from meters.api.vendor_docs import documented
from meters.events import Decoded, Event, Rejection, TooManyEventsError
from meters.exact_json import MalformedError, encode
from meters.wire import lago, metronome, orb, stripe_v1, stripe_v2
from meters.wire.reading import Arrival


@dataclass(frozen=True, slots=True)
class Format:
    """How requests of a format are read and its clients answered; `refused` is the status for events we do not take."""

    decode: Callable[[bytes, Arrival], Decoded]
    answer: Callable[[Sequence[Event], datetime], object]
    explain: Callable[[Mapping[str, Any], Sequence[Rejection]], dict[str, Any]]
    id_name: str
    refused: HTTPStatus = HTTPStatus.BAD_REQUEST


def _stripe_customer_names() -> list[str]:
    names: list[str] = settings.STRIPE_CUSTOMER_NAMES
    return names


LAGO = Format(
    lago.decode_one,
    lambda events, now: {"event": lago.answer(events[0], now)},
    lago.explain_one,
    lago.ID,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
LAGO_BATCH = Format(
    lago.decode,
    lambda events, now: {"events": [lago.answer(event, now) for event in events]},
    lago.explain,
    lago.ID,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
METRONOME = Format(metronome.decode, lambda events, now: {}, metronome.explain, metronome.ID)
ORB = Format(orb.decode, lambda events, now: orb.answer(), orb.explain, orb.ID)
STRIPE_V1 = Format(
    lambda body, arrival: stripe_v1.decode(body, arrival, _stripe_customer_names()),
    lambda events, now: stripe_v1.answer(events[0], now),
    stripe_v2.explain,
    stripe_v2.ID,
)
STRIPE_V2 = Format(
    lambda body, arrival: stripe_v2.decode(body, arrival, _stripe_customer_names()),
    lambda events, now: stripe_v2.answer(events[0], now),
    stripe_v2.explain,
    stripe_v2.ID,
)
STRIPE_STREAM = Format(
    lambda body, arrival: stripe_v2.decode_stream(body, arrival, _stripe_customer_names()),
    lambda events, now: {},
    stripe_v2.explain,
    stripe_v2.ID,
)


def take_in(format_: Format, request: Request) -> HttpResponse | Response:
    """Events in one of the formats, stored and answered. Raises TooLarge."""
    now = timezone.now()
    arrival = Arrival(now, request.headers.get("Idempotency-Key") or uuid.uuid4().hex)
    try:
        body = request.data
        decoded = format_.decode(body.content if isinstance(body, Body) else b"", arrival)
    except TooManyEventsError as error:
        raise TooLarge(error.message, error.code) from None
    except MalformedError as error:
        given = problem(HTTPStatus.BAD_REQUEST, error.message, [Problem(error.path, error.code, error.message)])
        return _refusal(format_, given, [])
    taken = take(decoded, request.auth.name if isinstance(request.auth, Caller) else "", format_.id_name)
    if taken.rejected:
        return _refusal(format_, taken.refusal(format_.refused), taken.rejected)
    return HttpResponse(encode(format_.answer(taken.events, now)), content_type="application/json")


def _refusal(format_: Format, given: dict[str, Any], rejected: Sequence[Rejection]) -> Response:
    """A problem as everywhere, with what the format's clients look for in it."""
    return Response({**given, **format_.explain(given, rejected)}, status=given["status"], content_type=MEDIA_TYPE)


class VendorView(APIView):
    permission_classes = [requires(Scope.INGEST)]
    parser_classes = [JsonParser]
    format: ClassVar[Format]

    def post(self, request: Request) -> HttpResponse | Response:
        return take_in(self.format, request)

    def get_exception_handler(self) -> Callable[[Exception, Mapping[str, Any]], Response | None]:
        def explained(error: Exception, context: Mapping[str, Any]) -> Response | None:
            answer = problem_response(error, context)
            if answer is not None:
                answer.data = {**answer.data, **self.format.explain(answer.data, [])}
            return answer

        return explained


@documented("lago_batch", "Send usage events as Lago's clients do, many at once")
class LagoBatchView(VendorView):
    format = LAGO_BATCH


@documented("metronome", "Send usage events as Metronome's clients do")
class MetronomeView(VendorView):
    format = METRONOME


@documented("orb", "Send usage events as Orb's clients do")
class OrbView(VendorView):
    format = ORB


@documented("stripe_v1", "Send a meter event as Stripe's clients do")
class StripeV1View(VendorView):
    parser_classes = [FormParser]
    format = STRIPE_V1


@documented("stripe_v2", "Send a meter event as Stripe's clients do, in JSON")
class StripeV2View(VendorView):
    format = STRIPE_V2


@documented("stripe_session", "Open a session for Stripe's stream of meter events")
class StripeSessionView(VendorView):
    """The client takes the session's token for a key and sends it with the stream."""

    format = STRIPE_STREAM

    def post(self, request: Request) -> HttpResponse:
        if not isinstance(request.auth, Caller):
            raise NotAuthenticated
        return HttpResponse(encode(new_session(request.auth, timezone.now())), content_type="application/json")


@documented("stripe_stream", "Send meter events as Stripe's clients do, many at once")
class StripeStreamView(VendorView):
    authentication_classes: Sequence[type[BaseAuthentication]] = [SessionAuthentication]
    format = STRIPE_STREAM
