"""The API's documentation: every route is described, every example is valid, and every example of a request works."""

import json
import re
from typing import Any

import jsonschema
import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from billing_project.models import ApiKey
from catalog.models import RateCard
from contracts.models import ContractTemplate
from invoicing.api import examples
from invoicing.api.urls import urlpatterns
from tests.factories import CustomerFactory, MeterFactory

JSON = "application/json"
# In the order of the story that the examples tell: each works on what those before it made.
STORY = [
    "create_product",
    "create_rate_card",
    "set_rates",
    "create_customer",
    "add_aliases",
    "create_contract",
    "preview",
    "set_quantity",
    "grant_credit",
    "grant_customer_credit",
    "amend_contract",
    "end_contract",
    "renew_contract",
    "change_product",
    "change_rate_card",
    "change_customer",
]
NAMES = {"key": "acme", "subscription": "seats", "feature": "api"}
KEYS = {"products": "calls", "rate_cards": "standard", "customers": "acme", "contracts": "acme-2026"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


@pytest.fixture
def client(db: None) -> APIClient:
    _, secret = ApiKey.issue("Docs", ["read", "write"])
    MeterFactory.create(key="api-calls", aggregation="count", group_by=["model"])
    CustomerFactory.create(key="beta")
    return APIClient(headers={"authorization": f"Bearer {secret}"})


def operations(schema: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Ours by id: the address, the method, and the description."""
    ours = {"/api/v1/" + re.sub(r"<[a-z]+:([a-z]+)>", r"{\1}", str(each.pattern)) for each in urlpatterns}
    return {
        page["operationId"]: (path, method, page)
        for path, methods in schema["paths"].items()
        if path in ours
        for method, page in methods.items()
    }


def validate(schema: dict[str, Any], value: Any, shape: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator({**shape, "components": schema["components"]}).validate(value)


def address(path: str) -> str:
    section = path.split("/")[3]
    return re.sub(r"{(\w+)}", lambda match: {**NAMES, "key": KEYS.get(section, "")}[match[1]], path)


def test_the_documentation_is_valid_and_has_every_route(schema: dict[str, Any]) -> None:
    validate_schema(schema)  # type: ignore[no-untyped-call]
    assert len({path for path, _, _ in operations(schema).values()}) == len(urlpatterns)


def test_every_operation_has_examples_that_fit_and_names_its_refusals(schema: dict[str, Any]) -> None:
    for name, (_, method, page) in operations(schema).items():
        success = next(status for status in page["responses"] if status.startswith("2"))
        content = page["responses"][success]["content"][JSON]
        assert content["examples"], name
        for example in content["examples"].values():
            validate(schema, example["value"], content["schema"])
        assert {"400", "401", "403", "404", "503"} <= page["responses"].keys(), name
        counts_usage = any(word in name for word in ("spend", "balances", "entitlement"))
        assert "409" in page["responses"] or not counts_usage or method != "get", name
        if method != "get":
            body = page["requestBody"]["content"][JSON]
            assert body["examples"], name
            for example in body["examples"].values():
                validate(schema, example["value"], body["schema"])
            assert {"409", "422"} <= page["responses"].keys(), name


def test_every_example_of_a_request_works(schema: dict[str, Any], client: APIClient) -> None:
    ours = operations(schema)
    asked = {name for name, (_, method, _) in ours.items() if method != "get"}
    assert asked == set(STORY)
    for name in STORY:
        if name == "create_contract":
            card = RateCard.objects.get(key="standard")
            template = examples.TEMPLATE
            ContractTemplate.objects.create(
                key=template["key"], name=template["name"], rate_card=card, document=template["document"]
            )
        path, method, page = ours[name]
        success = next(status for status in page["responses"] if status.startswith("2"))
        for example in page["requestBody"]["content"][JSON]["examples"].values():
            answer = client.generic(method.upper(), address(path), as_json(example["value"]), content_type=JSON)
            assert str(answer.status_code) == success, (name, answer.content)
            validate(schema, answer.json(), page["responses"][success]["content"][JSON]["schema"])
    for name, (path, method, page) in ours.items():
        if method == "get" and "{number}" not in path:
            answer = client.get(address(path))
            assert answer.status_code == 200, (name, answer.content)
            validate(schema, answer.json(), page["responses"]["200"]["content"][JSON]["schema"])


def as_json(value: Any) -> str:
    return json.dumps(value)
