"""Contracts amended, ended early and renewed: dated, once per request, never into a closed period."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_project.errors import ConflictError, RuleError
from contracts.amending import amended, cut_short, parse_changes
from contracts.amendments import amend, change_quantity, end_early, grant_credit, keep_going
from contracts.deal import NOTHING_AGREED
from contracts.deal_format import Catalog, DealError, deal_as_dict, parse_deal
from contracts.granting import grant_shared_credit
from contracts.models import Amendment, Contract
from contracts.renewing import renewed
from contracts.sign_up import renew
from invoicing.close import close_periods
from invoicing.models import Invoice
from tests.contracts.test_guardrails import UTC_ZONE
from tests.factories import ContractFactory, ProductFactory, RateFactory, day, sell, send

DEAL: dict[str, Any] = {
    "commits": [
        {
            "key": "y1",
            "access": [
                {"amount": "100", "starting_at": "2026-01-01", "ending_before": "2026-07-01"},
                {"amount": "100", "starting_at": "2026-07-01", "ending_before": "2027-01-01"},
            ],
            "invoices": [{"amount": "80", "at": "2026-01-01"}, {"amount": "80", "at": "2026-07-01"}],
        }
    ],
    "credits": [{"key": "trial", "access": [{"amount": "10", "ending_before": "2026-02-01"}]}],
    "overrides": [
        {"kind": "multiplier", "multiplier": "0.9"},
        {"kind": "multiplier", "multiplier": "0.8", "starting_at": "2026-09-01", "for_commits": ["y1"]},
    ],
    "discounts": [{"percent": "10", "ending_before": "2026-03-01"}],
    "subscriptions": [{"key": "seats", "product": "seat", "quantity": "5"}],
    "charges": [{"key": "setup", "product": "fee", "amount": "50", "at": "2026-01-01"},
                {"key": "yearly", "product": "fee", "amount": "9", "at": "2026-01-01", "every": "month"}],
    "minimums": [{"amount": "20"}],
}  # fmt: skip


def after(changes: dict[str, Any], month: int = 4, **deal: Any) -> dict[str, Any]:
    """The deal after an amendment on the first of a month."""
    at = day(1, month)
    return deal_as_dict(amended(parse_deal({**DEAL, **deal}, UTC_ZONE), parse_changes(changes, UTC_ZONE), at))


def fault(changes: dict[str, Any], month: int = 4) -> str:
    with pytest.raises(DealError) as caught:
        after(changes, month)
    return caught.value.faults[0].path


EARLY = {"amount": 1, "at": "2026-01-01"}
APRIL = "2026-04-01T00:00:00+00:00"


class TestChanges:
    def test_what_is_added_starts_with_the_amendment(self) -> None:
        add = {
            "overrides": [{"kind": "multiplier", "multiplier": "0.7"}],
            "discounts": [{"percent": "5", "starting_at": "2026-05-01"}],
            "credits": [{"key": "more", "access": [{"amount": "5"}]}],
            "subscriptions": [{"key": "extra", "product": "seat"}],
        }
        deal = after({"add": add})
        assert deal["overrides"][2]["starting_at"] == APRIL
        assert deal["discounts"][1]["starting_at"] == "2026-05-01T00:00:00+00:00"
        assert deal["credits"][1]["access"] == [{"starting_at": APRIL, "amount": "5"}]
        assert deal["subscriptions"][1]["starting_at"] == APRIL

    def test_what_is_ended_holds_until_then(self) -> None:
        ended = {"overrides": [0], "minimums": [0], "subscriptions": ["seats"], "charges": ["yearly"]}
        deal = after({"end": ended})
        for name in ("subscriptions", "minimums"):
            assert deal[name][0]["ending_before"] == APRIL
        assert deal["overrides"][0]["ending_before"] == APRIL
        assert "ending_before" not in deal["overrides"][1]
        assert deal["charges"][1]["ending_before"] == APRIL

    def test_what_has_not_begun_is_taken_out(self) -> None:
        assert len(after({"end": {"overrides": [1]}})["overrides"]) == 1

    def test_a_commit_that_ends_keeps_what_was_open(self) -> None:
        (commit,) = after({"end": {"commits": ["y1"]}})["commits"]
        assert [(each["amount"], each["ending_before"]) for each in commit["access"]] == [("100", APRIL)]
        assert [each["amount"] for each in commit["invoices"]] == ["80"]

    def test_an_override_of_a_commit_that_never_began_goes_with_it(self) -> None:
        late = {"key": "late", "access": [{"amount": "1", "starting_at": "2026-08-01"}]}
        only_late = {"kind": "multiplier", "multiplier": "0.1", "for_commits": ["late"]}
        both = {"kind": "multiplier", "multiplier": "0.2", "for_commits": ["y1", "late"]}
        pooled = {"kind": "multiplier", "multiplier": "0.3", "for_commits": ["pool", "late"]}
        commits, overrides = [*DEAL["commits"], late], [only_late, both, pooled]
        deal = after({"end": {"commits": ["late"]}}, commits=commits, overrides=overrides)
        # `pool` is no commit of the contract but one the customer shares: it goes on.
        assert [each["for_commits"] for each in deal["overrides"]] == [["y1"], ["pool"]]

    def test_an_override_of_no_commit_there_is_refused_by_path(self) -> None:
        override = {"kind": "multiplier", "multiplier": "1", "for_commits": ["pool"]}
        changes = parse_changes({"add": {"overrides": [override]}}, UTC_ZONE)
        with pytest.raises(DealError) as caught:
            amended(NOTHING_AGREED, changes, day(1, 4), Catalog({}))
        assert [each.path for each in caught.value.faults] == ["add.overrides[0].for_commits[0]"]
        shared = Catalog({}, shared_commits=frozenset({"pool"}))
        assert amended(NOTHING_AGREED, changes, day(1, 4), shared).overrides[0].for_commits == ("pool",)

    def test_a_quantity_from_an_instant_on(self) -> None:
        changes = {"quantities": [{"subscription": "seats", "quantity": "8"},
                                  {"subscription": "seats", "quantity": "9", "at": "2026-06-01"}]}  # fmt: skip
        assert after(changes)["subscriptions"][0]["changes"] == [
            {"at": APRIL, "quantity": "8"},
            {"at": "2026-06-01T00:00:00+00:00", "quantity": "9"},
        ]

    def test_a_threshold_set_and_taken_away(self) -> None:
        assert after({"spend_threshold": {"amount": "50"}})["spend_threshold"] == {"amount": "50"}
        assert "spend_threshold" not in after({"spend_threshold": None}, spend_threshold={})
        assert "spend_threshold" in after({}, spend_threshold={"amount": "7"})

    @pytest.mark.parametrize(
        ("changes", "path"),
        [
            ({"add": {"overrides": [{"kind": "multiplier", "multiplier": "1", "starting_at": "2026-03-31"}]}},
             "add.overrides[0].starting_at"),
            ({"add": {"credits": [{"key": "a", "access": [{"amount": 1, "starting_at": "2026-01-01"}]}]}},
             "add.credits[0].access[0].starting_at"),
            ({"add": {"commits": [{"key": "a", "access": [{"amount": 1}], "invoices": [EARLY]}]}},
             "add.commits[0].invoices[0].at"),
            ({"add": {"charges": [{"key": "a", "product": "fee", **EARLY}]}}, "add.charges[0].at"),
            ({"add": {"discounts": [{"percent": 1, "ending_before": "2026-02-01"}]}}, "add.discounts[0].ending_before"),
            ({"add": {"credits": [{"key": "y1", "access": [{"amount": 1}]}]}}, "add.credits[0].key"),
            ({"add": {"overrides": [{"kind": "multiplier"}]}}, "add.overrides[0].multiplier"),
            ({"add": {"spend_threshold": {}}}, "add.spend_threshold"),
            ({"end": {"overrides": [2]}}, "end.overrides[0]"),
            ({"end": {"overrides": [-1]}}, "end.overrides[0]"),
            ({"end": {"overrides": ["first"]}}, "end.overrides[0]"),
            ({"end": {"commits": ["no"]}}, "end.commits[0]"),
            ({"end": {"discounts": [0]}}, "end.discounts"),
            ({"end": {"credits": ["trial"]}}, "end.credits"),
            ({"end": {"charges": ["setup"]}}, "end.charges"),
            ({"end": {"entitlements": ["sso"]}}, "end.entitlements[0]"),
            ({"quantities": [{"subscription": "no", "quantity": 1}]}, "quantities[0].subscription"),
            ({"quantities": [{"subscription": "seats", "quantity": -1}]}, "quantities[0].quantity"),
            ({"quantities": [{"subscription": "seats", "quantity": 1, "at": "2026-01-01"}]}, "quantities[0].at"),
            ({"net_days": -1}, "net_days"),
            ({"price": 1}, "price"),
            ({"spend_threshold": {"amount": 0}}, "spend_threshold.amount"),
            ({"balance_threshold": {"amount": 1, "recharge_to": 2}}, "balance_threshold.amount"),
        ],
    )  # fmt: skip
    def test_each_field_wrong_in_turn_is_refused_by_path(self, changes: dict[str, Any], path: str) -> None:
        assert fault(changes) == path

    @given(month=st.integers(2, 12), ended=st.sets(st.sampled_from(["y1"])))
    def test_nothing_before_the_amendment_changes(self, month: int, ended: set[str]) -> None:
        """The windows, overrides and discounts that hold before it, hold all the same."""
        at = day(1, month)
        before = parse_deal(DEAL, UTC_ZONE)
        changes = {"end": {"commits": sorted(ended), "overrides": [0], "minimums": [0]}}
        now = amended(before, parse_changes(changes, UTC_ZONE), at)
        for moment in (day(1), at - timedelta(days=1), at - timedelta(microseconds=1)):
            for name in ("overrides", "discounts", "minimums"):
                held = [
                    [replace_end(each) for each in getattr(deal, name) if each.holds_at(moment)]
                    for deal in (before, now)
                ]
                assert held[0] == held[1]
            open_windows = [
                [
                    (each.amount, each.starting_at)
                    for commit in deal.commits
                    for each in commit.access
                    if each.holds_at(moment)
                ]
                for deal in (before, now)
            ]
            assert open_windows[0] == open_windows[1]


def replace_end(term: Any) -> dict[str, Any]:
    return {name: getattr(term, name) for name in term.__struct_fields__ if name != "ending_before"}


def test_a_contract_cut_short() -> None:
    deal = deal_as_dict(cut_short(parse_deal(DEAL, UTC_ZONE), day(1, 4)))
    assert [each["ending_before"] for each in deal["commits"][0]["access"]] == [APRIL]
    assert len(deal["commits"][0]["invoices"]) == 1
    assert deal["credits"][0]["access"][0]["ending_before"] == "2026-02-01T00:00:00+00:00"


def test_renewed_terms_move_by_the_calendar() -> None:
    deal = deal_as_dict(renewed(parse_deal(DEAL, UTC_ZONE), day(1), day(1, 1, 2027), UTC_ZONE))
    assert [each["starting_at"][:10] for each in deal["commits"][0]["access"]] == ["2027-01-01", "2027-07-01"]
    assert [each["at"][:10] for each in deal["commits"][0]["invoices"]] == ["2027-01-01", "2027-07-01"]
    assert deal["discounts"][0]["ending_before"][:10] == "2027-03-01"
    assert "starting_at" not in deal["overrides"][0]
    assert [each["key"] for each in deal["charges"]] == ["yearly"]
    assert "credits" not in deal


@pytest.mark.django_db
class TestAmending:
    def test_from_the_next_open_period_on(self) -> None:
        (contract,) = sell(used=(10,))
        close_periods(day(2, month=2), contract.key)
        half = {"add": {"overrides": [{"kind": "multiplier", "multiplier": "0.5"}]}}
        with pytest.raises(RuleError, match=r"is closed: choose 2026-02-01T00:00:00\+00:00 or later") as caught:
            amend(contract, day(31), half, None)
        assert caught.value.problems[0].path == "effective_at"
        assert amend(contract, day(1, 2), half, None, "Won back.").status == "applied"
        send(contract.customer.key, 10, day(10, month=2))
        close_periods(day(2, month=3), contract.key)
        totals = [str(each.total) for each in Invoice.objects.order_by("starting_at")]
        assert totals == ["$5.00", "$2.50"]
        assert Invoice.objects.order_by("starting_at")[0].lines.get().rate.count("override") == 0

    def test_outside_of_the_contract_is_refused(self) -> None:
        contract = ContractFactory.create(starting_at=day(5), ending_before=day(20))
        for at in (day(4), day(21)):
            with pytest.raises(RuleError, match="within the contract"):
                amend(contract, at, {}, None)

    def test_the_same_request_twice_is_one_change(self) -> None:
        (contract,) = sell()
        for _ in range(2):
            grant_credit(contract, "sorry", Decimal(5), None, starting_at=day(1), request_key="r1")
        contract.refresh_from_db()
        assert len(contract.deal["credits"]) == Amendment.objects.count() == 1
        with pytest.raises(ConflictError, match="another request"):
            grant_credit(contract, "sorry", Decimal(6), None, starting_at=day(1), request_key="r1")

    def test_references_are_looked_up_in_the_catalog(self) -> None:
        (contract,) = sell()
        with pytest.raises(RuleError) as caught:
            amend(contract, day(1), {"add": {"discounts": [{"percent": 1, "scope": {"products": ["no"]}}]}}, None)
        assert caught.value.problems[0].path == "add.discounts[0].scope.products[0]"

    def test_seats_and_days_to_pay(self) -> None:
        seat = RateFactory.create(product=ProductFactory.create(kind="subscription", meter=None))
        deal = {"subscriptions": [{"key": "seats", "product": seat.product.key, "quantity": "4", "billed": "arrears"}]}
        contract = ContractFactory.create(rate_card=seat.rate_card, deal=deal)
        change_quantity(contract, "seats", Decimal(8), day(1, 2), None)
        amend(contract, day(1, 2), {"net_days": 10}, None)
        close_periods(day(2, month=3), contract.key)
        invoices = list(Invoice.objects.order_by("starting_at"))
        assert [str(each.total) for each in invoices] == ["$2.00", "$4.00"]
        assert invoices[1].net_days == 10


@pytest.mark.django_db
class TestEndingEarly:
    def test_the_last_period_is_short_and_a_postpaid_commit_is_trued_up(self) -> None:
        commit = {
            "key": "year",
            "kind": "postpaid",
            "access": [{"amount": "30", "starting_at": "2026-01-01", "ending_before": "2027-01-01"}],
        }
        (contract,) = sell(used=(10,), deal={"commits": [commit]}, ending_before=day(1, 1, 2027))
        end_early(contract, day(15, 2), None, "Moved on.")
        send(contract.customer.key, 10, day(16, month=2))
        close_periods(day(2, month=4), contract.key)
        invoices = list(Invoice.objects.order_by("starting_at"))
        assert [(each.starting_at, each.ending_before) for each in invoices] == [
            (day(1), day(1, 2)),
            (day(1, 2), day(15, 2)),
        ]
        # 30 promised, 5 used
        assert [str(each.total) for each in invoices] == ["$5.00", "$25.00"]

    def test_into_closed_periods_or_past_the_end_is_refused(self) -> None:
        (contract,) = sell(ending_before=day(1, 6))
        close_periods(day(2, month=3), contract.key)
        for at, text in [(day(28, 2), "is closed"), (day(1, 6), "ends on 2026-06-01"), (day(1), "after it starts")]:
            with pytest.raises(RuleError, match=text) as caught:
                end_early(contract, at, None)
            assert caught.value.problems[0].path == "at"
        end_early(contract, day(1, 3), None)

    def test_a_scheduled_end_is_taken_back(self) -> None:
        (contract,) = sell(deal={"credits": [{"key": "a", "access": [{"amount": "5"}]}]})
        before = Contract.objects.get(pk=contract.pk)
        end_early(contract, day(15, 2), None)
        keep_going(contract, None, "They stay.")
        kept = Contract.objects.get(pk=contract.pk)
        assert (kept.ending_before, kept.deal) == (None, before.deal)
        close_periods(day(2, month=3), contract.key)
        assert [each.ending_before for each in Invoice.objects.order_by("starting_at")] == [day(1, 2), day(1, 3)]
        with pytest.raises(ConflictError, match="no early end"):
            keep_going(contract, None)

    def test_an_end_that_is_billed_is_not_taken_back(self) -> None:
        (contract,) = sell()
        end_early(contract, day(15, 2), None)
        close_periods(day(2, month=4), contract.key)
        with pytest.raises(RuleError, match="renew the contract instead"):
            keep_going(contract, None)


@pytest.mark.django_db
class TestRenewing:
    def test_the_successor_starts_where_the_contract_ends(self) -> None:
        (contract,) = sell(
            ending_before=day(1, 1, 2027), deal={"discounts": [{"percent": "10", "ending_before": "2026-03-01"}]}
        )
        made = renew(contract, "next", None, changes={"net_days": 60, "add": {"discounts": [{"percent": "1"}]}})
        assert (made.renews, made.starting_at, made.ending_before) == (contract, day(1, 1, 2027), day(1, 1, 2028))
        assert made.net_days == 60
        assert [each.get("ending_before", "")[:10] for each in made.deal["discounts"]] == ["2027-03-01", ""]
        assert renew(contract, "next", None) == made

    def test_a_term_or_an_end_may_be_given(self) -> None:
        (contract,) = sell(ending_before=day(1, 1, 2027))
        assert renew(contract, "next", None, term="P6M").ending_before == day(1, 7, 2027)
        other = ContractFactory.create(ending_before=day(1, 2))
        assert renew(other, "after", None, ending_before=day(9, 3)).ending_before == day(9, 3)

    def test_refusals(self) -> None:
        (contract,) = sell()
        with pytest.raises(RuleError, match="has no end"):
            renew(contract, "next", None)
        ends = ContractFactory.create(ending_before=day(1, 2))
        with pytest.raises(RuleError, match="write a duration"):
            renew(ends, "next", None, term="a year")
        with pytest.raises(ConflictError, match="key of another contract"):
            renew(ends, contract.key, None)
        with pytest.raises(RuleError) as caught:
            renew(ends, "next", None, changes={"add": {"discounts": [{"percent": 101}]}})
        assert caught.value.problems[0].path == "add.discounts[0].percent"


class TestNothing:
    @pytest.mark.django_db
    @pytest.mark.parametrize("changes", [{}, {"net_days": 30}, {"spend_threshold": None}, {"end": {"commits": []}}])
    def test_an_amendment_that_changes_nothing_is_refused(self, changes: dict[str, Any]) -> None:
        contract = ContractFactory.create(net_days=30)
        with pytest.raises(RuleError, match="changes nothing") as caught:
            amend(contract, day(1, 2), changes, None)
        assert [each.path for each in caught.value.problems] == ["changes"]
        assert not Amendment.objects.exists()
        assert amend(contract, day(1, 2), {"net_days": 31}, None).after == {"deal": {}, "net_days": 31}

    @pytest.mark.django_db
    def test_a_credit_of_zero_is_refused_by_path(self) -> None:
        contract = ContractFactory.create()
        nothing = {"key": "no", "access": [{"amount": "5"}, {"amount": "0.00"}]}
        with pytest.raises(RuleError) as added:
            amend(contract, day(1, 2), {"add": {"credits": [nothing]}}, None)
        with pytest.raises(RuleError) as granted:
            grant_credit(contract, "no", Decimal(0), None, starting_at=day(1, 2))
        with pytest.raises(RuleError) as shared:
            grant_shared_credit(contract.customer, "no", Decimal(0), None, starting_at=day(1, 2))
        paths = [each.value.problems[0].path for each in (added, granted, shared)]
        assert paths == ["add.credits[0].access[1].amount", "amount", "amount"]

    def test_a_seat_that_is_named_twice_is_refused_by_path(self) -> None:
        named = {"subscription": "seats", "quantity": "3", "seats": ["ann", "ann"]}
        assert fault({"quantities": [named]}) == "quantities[0].seats"
