"""Templates in billing files, contracts signed from them, and what waits for approval."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.utils import timezone

from contracts.approval import approve_amendment, approve_contract
from contracts.models import Amendment, Contract, ContractTemplate, DealGuardrails
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.faults import FileError
from invoicing.billing_file.parsing import parse
from invoicing.billing_file.plan import Step
from tests.factories import day, user

FILE: dict[str, Any] = {
    "products": [{"key": "seat", "kind": "subscription"}],
    "rate_cards": [{"key": "list", "currency": "USD"}],
    "customers": [{"key": "acme", "timezone": "Europe/Berlin"}],
    "templates": [
        {
            "key": "starter",
            "rate_card": "list",
            "term": "P1Y",
            "net_days": 14,
            "credits": [{"key": "welcome", "access": [{"amount": "25", "starting_at": "P0D", "ending_before": "P1M"}]}],
            "discounts": [{"percent": "10", "ending_before": "P3M"}],
        }
    ],
    "contracts": [{"key": "c", "customer": "acme", "template": "starter", "starting_at": "2026-01-31"}],
}


def apply(**sections: Any) -> list[Step]:
    return apply_entries(parse([("", {**FILE, **sections})]), timezone.now())


def contract(**fields: Any) -> dict[str, Any]:
    return {"contracts": [{**FILE["contracts"][0], **fields}]}


def refused(**sections: Any) -> list[str]:
    with pytest.raises(FileError) as caught:
        apply(**sections)
    return [fault.path for fault in caught.value.faults]


@pytest.mark.django_db
class TestTemplates:
    def test_a_contract_gets_the_templates_terms_in_its_own_zone(self) -> None:
        apply()
        made = Contract.objects.get()
        assert made.template == ContractTemplate.objects.get()
        assert (made.net_days, made.timezone) == (14, "Europe/Berlin")
        assert made.ending_before
        assert made.ending_before.isoformat() == "2027-01-30T23:00:00+00:00"
        assert made.deal["credits"][0]["access"] == [
            {
                "starting_at": "2026-01-30T23:00:00+00:00",
                "ending_before": "2026-02-27T23:00:00+00:00",
                "amount": "25",
            }
        ]

    def test_what_the_contract_says_goes_before(self) -> None:
        apply(**contract(net_days=5, discounts=[], ending_before="2026-06-01"))
        made = Contract.objects.get()
        assert (made.net_days, "discounts" in made.deal) == (5, False)
        assert made.ending_before
        assert made.ending_before.isoformat() == "2026-05-31T22:00:00+00:00"

    def test_a_second_run_changes_nothing(self) -> None:
        apply()
        assert {each.action for each in apply()} == {"unchanged"}

    def test_a_changed_template_reaches_new_contracts_only(self) -> None:
        apply()
        changed = [{**FILE["templates"][0], "net_days": 60, "discounts": []}]
        steps = {each.kind: each.action for each in apply(templates=changed)}
        assert (steps["template"], steps["contract"]) == ("change", "unchanged")
        assert Contract.objects.get().net_days == 14
        more = {"key": "d", "customer": "beta", "template": "starter", "starting_at": "2026-01-01"}
        apply_entries(parse([("", {"customers": [{"key": "beta"}], "contracts": [more]})]), timezone.now())
        assert Contract.objects.get(key="d").net_days == 60

    def test_it_is_simulated(self, tmp_path: Path) -> None:
        path = tmp_path / "file.yaml"
        path.write_text(yaml.safe_dump({"name": "packages", "as_of": "2026-02-10", **FILE}))
        out = StringIO()
        call_command("simulate", str(path), "--json", stdout=out)
        result = yaml.safe_load(out.getvalue())["results"][0]
        assert [row["balance"] for row in result["balances"]] == ["welcome"]
        assert {row["contract"] for row in result["invoices"]} == {"c"}

    @pytest.mark.parametrize(
        ("sections", "path"),
        [
            (contract(template="gone"), "contracts[0].template"),
            (contract(template=5), "contracts[0].template"),
            (contract(starting_at="soon"), "contracts[0].starting_at"),
            (contract(starting_at=None), "contracts[0].starting_at"),
            (contract(timezone="Nowhere"), "contracts[0].timezone"),
            (contract(net_days=-1), "contracts[0].net_days"),
            ({"contracts": [{"key": "c", "customer": "acme", "starting_at": "2026-01-01"}]}, "contracts[0].rate_card"),
            ({"templates": [{**FILE["templates"][0], "rate_card": "gone"}]}, "templates[0].rate_card"),
            ({"templates": [{**FILE["templates"][0], "term": "soon"}]}, "templates[0].term"),
            ({"templates": [{**FILE["templates"][0], "customer": "acme"}]}, "templates[0].customer"),
            ({"templates": [{**FILE["templates"][0], "starting_at": "P1D"}]}, "templates[0].starting_at"),
            ({"templates": [{**FILE["templates"][0], "key": "a b"}], "contracts": []}, "templates[0].key"),
            ({"templates": [FILE["templates"][0]] * 2}, "templates[1].key"),
            ({"templates": {}}, "templates"),
            (
                {"templates": [{**FILE["templates"][0], "discounts": [{"percent": 1, "scope": {"products": ["no"]}}]}]},
                "templates[0].discounts[0].scope.products[0]",
            ),
        ],
    )
    def test_each_field_wrong_in_turn(self, sections: dict[str, Any], path: str) -> None:
        assert path in refused(**sections)


@pytest.mark.django_db
class TestGuardrails:
    @pytest.fixture(autouse=True)
    def limits(self, roles: None) -> None:
        DealGuardrails.objects.create(currency="USD", max_discount_percent=20)

    def test_inside_is_active_and_beyond_waits_and_says_so(self) -> None:
        assert apply()[-1].details == ()
        (step,) = [each for each in apply(**contract(key="d", starting_at="2027-02-01", discounts=[{"percent": "30"}]))
                   if each.kind == "contract"]  # fmt: skip
        assert (step.action, step.details) == ("create", ("waits for approval: discounts: 30% off, above 20%",))
        assert list(Contract.objects.order_by("key").values_list("status", flat=True)) == [
            "active",
            "awaiting_approval",
        ]
        approve_contract(Contract.objects.get(key="d").pk, user("Deal desk"))
        assert (
            apply(**contract(key="d", starting_at="2027-02-01", discounts=[{"percent": "30"}]))[-1].action
            == "unchanged"
        )

    def test_a_change_of_a_contract_in_force_waits_beside_it(self) -> None:
        apply()
        for action in ("change", "unchanged"):
            step = apply(**contract(discounts=[{"percent": "30"}]))[-1]
            assert (step.action, step.details) == (action, ("waits for approval: discounts: 30% off, above 20%",))
        assert Contract.objects.get().deal["discounts"][0]["percent"] == "10"
        approve_amendment(Amendment.objects.get().pk, user("Deal desk"))
        assert Contract.objects.get().deal["discounts"][0]["percent"] == "30"
        assert apply(**contract(discounts=[{"percent": "30"}]))[-1].action == "unchanged"

    def test_a_waiting_contract_written_anew_inside_is_active(self) -> None:
        apply(**contract(discounts=[{"percent": "30"}]))
        assert apply(**contract(discounts=[{"percent": "5"}]))[-1].action == "change"
        assert Contract.objects.get().status == "active"
        assert Contract.objects.get().starting_at < day(31)
