"""Contract templates: durations by the calendar, what is signed from them, what is refused."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_project.errors import ConflictError, RuleError
from contracts.deal_format import DealError
from contracts.durations import between, parse_duration
from contracts.models import Contract, ContractTemplate
from contracts.sign_up import sign_up
from contracts.templates import from_template, parse_template
from tests.factories import CustomerFactory, RateCardFactory, day

UTC_ZONE, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")
STARTER: dict[str, Any] = {
    "term": "P1Y",
    "net_days": 14,
    "credits": [{"key": "trial", "access": [{"amount": "25", "starting_at": "P0D", "ending_before": "P1M"}]}],
    "discounts": [{"percent": "50", "ending_before": "P3M"}],
    "spend_threshold": {},
}


class TestDurations:
    @pytest.mark.parametrize(
        ("start", "duration", "end"),
        [
            ("2026-01-31", "P1M", "2026-02-28"),
            ("2026-01-31", "P2M", "2026-03-31"),
            ("2028-01-31", "P1M", "2028-02-29"),
            ("2028-02-29", "P1Y", "2029-02-28"),
            ("2026-01-01", "P0D", "2026-01-01"),
            ("2026-01-01", "P2W", "2026-01-15"),
            ("2026-12-15", "P1M2D", "2027-01-17"),
        ],
    )
    def test_by_the_calendar(self, start: str, duration: str, end: str) -> None:
        instant = datetime.fromisoformat(start).replace(tzinfo=UTC)
        assert parse_duration(duration).after(instant, UTC_ZONE).date().isoformat() == end

    def test_a_day_has_23_hours_when_clocks_go_forward(self) -> None:
        start = datetime(2026, 3, 29, tzinfo=BERLIN)
        end = parse_duration("P1D").after(start, BERLIN)
        assert (end - start.astimezone(UTC)).total_seconds() == 23 * 3600
        assert parse_duration("PT24H").after(start, BERLIN) != end

    def test_the_time_of_day_stays(self) -> None:
        start = datetime(2026, 1, 10, 14, 20, tzinfo=BERLIN)
        assert parse_duration("P6M").after(start, BERLIN) == datetime(2026, 7, 10, 14, 20, tzinfo=BERLIN)

    @pytest.mark.parametrize("text", ["", "P", "PT", "1M", "P1", "P-1M", "P1.5M", "2026-01-01", "P1D1M", "PT1D"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="write a duration"):
            parse_duration(text)

    @given(start=st.integers(0, 10**9), seconds=st.integers(0, 10**9))
    def test_between_two_instants_lies_the_duration_that_leads_from_one_to_the_other(
        self, start: int, seconds: int
    ) -> None:
        first = datetime.fromtimestamp(start, tz=UTC)
        last = datetime.fromtimestamp(start + seconds, tz=UTC)
        for zone in (UTC_ZONE, BERLIN):
            assert between(first, last, zone).after(first, zone) == last


class TestTerms:
    def test_instants_are_counted_from_the_start(self) -> None:
        deal = from_template(STARTER, datetime(2026, 1, 31, tzinfo=BERLIN), BERLIN)
        (window,) = deal.credits[0].access
        assert window.starting_at == datetime(2026, 1, 31, tzinfo=BERLIN)
        assert window.ending_before == datetime(2026, 2, 28, tzinfo=BERLIN)
        assert deal.discounts[0].ending_before == datetime(2026, 4, 30, tzinfo=BERLIN)
        assert deal.spend_threshold
        assert deal.spend_threshold.amount == 100

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"term": "a year"}, "term"),
            ({"term": "P0D"}, "term"),
            ({"term": 12}, "term"),
            ({"term": "P9999Y"}, "term"),
            ({"net_days": -1}, "net_days"),
            ({"timezone": "Europe/Nowhere"}, "timezone"),
            ({"billing": {"every": "fortnight"}}, "billing.every"),
            ({"customer": "acme"}, "customer"),
            ({"discounts": [{"percent": "50", "ending_before": "2026-01-01"}]}, "discounts[0].ending_before"),
            ({"charges": [{"key": "a", "product": "b", "amount": 1}]}, "charges[0].at"),
            ({"charges": [{"key": "a", "product": "b", "amount": 1, "at": 5}]}, "charges[0].at"),
            ({"credits": [{"key": "a", "access": [{"amount": "-1"}]}]}, "credits[0].access[0].amount"),
            (
                {"credits": [{"key": "a", "access": [{"amount": 1, "starting_at": "P2M", "ending_before": "P1M"}]}]},
                "credits[0].access[0].ending_before",
            ),
            ({"commits": [{"key": "trial", "access": [{"amount": 1}]}]}, "credits[0].key"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_by_path(self, change: dict[str, Any], path: str) -> None:
        with pytest.raises(DealError) as caught:
            parse_template({**STARTER, **change})
        assert [fault.path for fault in caught.value.faults] == [path]


@pytest.mark.django_db
class TestSigningUp:
    def template(self, **fields: Any) -> ContractTemplate:
        made = ContractTemplate(key="starter", name="Starter", rate_card=RateCardFactory.create(), document=STARTER)
        for name, value in fields.items():
            setattr(made, name, value)
        made.full_clean()
        made.save()
        return made

    def test_the_contract_has_the_templates_terms_and_keeps_them(self) -> None:
        template = self.template()
        contract = sign_up(template, CustomerFactory.create(timezone="Europe/Berlin"), day(1), "c")
        assert (contract.status, contract.template, contract.name) == ("active", template, "Starter")
        assert contract.ending_before == datetime(2027, 1, 1, 1, tzinfo=BERLIN)
        assert (contract.net_days, contract.deal["discounts"][0]["percent"]) == (14, "50")
        template.document = {}
        template.save()
        contract.refresh_from_db()
        assert contract.deal["discounts"]

    def test_what_is_given_goes_before_the_template(self) -> None:
        contract = sign_up(self.template(), CustomerFactory.create(), day(1), "c", net_days=5, discounts=[], name="Own")
        assert (contract.net_days, contract.name) == (5, "Own")
        assert "discounts" not in contract.deal

    def test_the_same_key_twice_is_one_contract(self) -> None:
        template, customer = self.template(), CustomerFactory.create()
        first = sign_up(template, customer, day(1), "c")
        assert sign_up(template, customer, day(1), "c") == first
        with pytest.raises(ConflictError, match="key of another contract"):
            sign_up(template, customer, day(2), "c")
        assert Contract.objects.count() == 1

    def test_refusals_name_the_field(self) -> None:
        template, customer = self.template(), CustomerFactory.create()
        for fields, path in [
            ({"timezone": "Nowhere"}, "timezone"),
            ({"net_days": "soon"}, "net_days"),
            ({"billing": {"anchor": "tuesday"}}, "billing.anchor"),
            ({"discounts": [{"percent": "200"}]}, "discounts[0].percent"),
        ]:
            with pytest.raises(RuleError) as caught:
                sign_up(template, customer, day(1), "c", **fields)  # type: ignore[arg-type]
            assert [problem.path for problem in caught.value.problems] == [path]
        template.archived_at = day(1)
        with pytest.raises(RuleError, match="no longer offered"):
            sign_up(template, customer, day(1), "c")
        sign_up(self.template(key="other", document={}), customer, day(1), "c")
        with pytest.raises(RuleError, match="Overlaps contract"):
            sign_up(self.template(key="third"), customer, day(1), "d")
