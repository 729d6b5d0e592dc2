"""Two people save rates that contradict each other at the same moment: both forms are right when they are sent."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from billing_project.admin import OVERTAKEN
from billing_project.errors import RuleError
from catalog.card_grid import read_grid, save_grid
from catalog.models import Product, Rate
from tests import factories
from tests.catalog.test_admin import form_of, post_card, row_errors

FLAT = {"model": "flat", "amount": "9"}
FACTORS = {"multiply_by": "1", "divide_by": "1", "rounding_places": "0"}
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


@pytest.mark.usefixtures("real_commits")
def test_the_second_one_is_told_at_the_row(client: Client) -> None:
    client.force_login(factories.user("Sales ops"))
    first = factories.RateFactory.create(ending_before=factories.day(1, month=3))
    row = form_of(factories.PER_UNIT, "rates-0-", product=first.product.pk, starting_at_0="2026-03-01")

    def save() -> Any:
        try:
            return post_card(client, first.rate_card, row)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(), connection.cursor() as cursor:
            april = factories.day(1, month=4)
            factories.RateFactory.create(rate_card=first.rate_card, product=first.product, starting_at=april)
            answer = pool.submit(save)
            waiting = 0
            while not (waiting or answer.done()):
                cursor.execute(WAITING)
                (waiting,) = cursor.fetchone()
            assert waiting, answer.result()
        response = answer.result()
    assert response.status_code == 200
    (errors,) = row_errors(response)
    assert errors == {"starting_at": ["Overlaps the rate from 1 April 2026 on: end that one first."]}
    assert Rate.objects.count() == 2


@pytest.mark.usefixtures("real_commits")
def test_the_second_one_of_two_grids_is_told_at_the_cell(client: Client) -> None:
    client.force_login(factories.user("Sales ops"))
    rate = factories.RateFactory.create()
    shown = {"": factories.PER_UNIT}
    mine = {"": {"model": "per_unit", "unit_amount": "0.3"}}
    body = {"rows": [{"product": rate.product.key, "where": {}, "seen": shown, "cells": mine}]}
    url = reverse("admin:catalog_ratecard_grid", args=[rate.rate_card_id])

    def save() -> Any:
        try:
            return client.post(url, json.dumps(body), content_type="application/json")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(), connection.cursor() as cursor:
            theirs = read_grid(rate.rate_card, {"rows": [{**body["rows"][0], "cells": {"": FLAT}}]})
            save_grid(rate.rate_card, theirs)
            answer = pool.submit(save)
            waiting = 0
            while not (waiting or answer.done()):
                cursor.execute(WAITING)
                (waiting,) = cursor.fetchone()
            assert waiting, answer.result()
        response = answer.result()
    assert response.status_code == 422
    (fault,) = response.json()["faults"]
    assert (fault["row"], fault["column"], fault["now"]) == (0, "", FLAT)
    assert Rate.objects.get().price == FLAT


def elsewhere(work: Callable[[], Any]) -> None:
    """Done and committed by another connection."""

    def done() -> None:
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(done).result()


@pytest.mark.usefixtures("real_commits")
def test_whoever_is_overtaken_twice_keeps_what_was_typed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(factories.user("Sales ops"))
    admin_of_products = admin.site.get_model_admin(Product)
    save, read = admin_of_products.save_model, admin_of_products.get_form
    meter = factories.MeterFactory.create()
    looks = []

    def overtaken(*given: Any) -> None:
        # Between the check of the form and its save another session takes the key ...
        elsewhere(lambda: factories.ProductFactory.create(key="gpu", name="Theirs", meter=meter))
        save(*given)

    def looked_at(*given: Any, **more: Any) -> Any:
        # ... and has given it free again when the form is looked at the next time.
        elsewhere(lambda: Product.objects.filter(key="gpu").delete())
        looks.append(1)
        return read(*given, **more)

    monkeypatch.setattr(admin_of_products, "save_model", overtaken)
    monkeypatch.setattr(admin_of_products, "get_form", looked_at)
    typed = {
        "key": "gpu",
        "name": "Hours of GPUs",
        "kind": "usage",
        "meter": meter.pk,
        "tags": "compute, fast",
        **FACTORS,
    }
    page = client.post(reverse("admin:catalog_product_add"), typed)
    monkeypatch.undo()
    assert len(looks) == 3, page.context["adminform"].form.errors
    assert page.status_code == 200
    assert page.context["adminform"].form.non_field_errors() == [OVERTAKEN]
    shown = page.content.decode()
    assert OVERTAKEN in shown
    for text in ("gpu", "Hours of GPUs", "compute, fast"):
        assert f'value="{text}"' in shown
    assert not Product.objects.filter(name="Hours of GPUs").exists()
    assert client.post(reverse("admin:catalog_product_add"), typed).status_code == 302
    assert Product.objects.get(key="gpu").name == "Hours of GPUs"


@pytest.mark.django_db
def test_what_a_rule_refuses_while_it_is_saved_keeps_what_was_typed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(factories.user("Sales ops"))

    def refuse(*given: Any) -> None:
        raise RuleError("The period up to 2026-02-01 is closed.")

    monkeypatch.setattr(admin.site.get_model_admin(Product), "save_model", refuse)
    meter = factories.MeterFactory.create()
    typed = {"key": "gpu", "name": "Hours", "meter": meter.pk, **FACTORS}
    page = client.post(reverse("admin:catalog_product_add"), typed)
    assert page.status_code == 200
    assert page.context["adminform"].form.non_field_errors() == ["The period up to 2026-02-01 is closed."]
    assert 'value="Hours"' in page.content.decode()
