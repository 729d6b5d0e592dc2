"""Two people save rates that contradict each other at the same moment: both forms are right when they are sent."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from catalog.card_grid import read_grid, save_grid
from catalog.models import Rate
from tests import factories
from tests.catalog.test_admin import form_of, post_card, row_errors

FLAT = {"model": "flat", "amount": "9"}
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
