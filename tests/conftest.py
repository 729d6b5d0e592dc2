"""Fixtures for every test."""

import signal
from collections.abc import Generator, Iterator

import hypothesis
import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import connection, connections
from pytest_django import DjangoDbBlocker

from billing_project import api, embedded
from billing_project.roles import make_roles
from billing_project.scratch import template_of_tables
from invoicing.books import INVARIANTS
from meters import dictionary, partitions

# How long an example takes says how busy the machine is, not whether the property holds.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")
# A run started in the background of a shell ignores Ctrl-C, and so would the programs it starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: DjangoDbBlocker
) -> None:
    """Start the embedded PostgreSQL only when the first test needs a database, and copy that from one with all tables.

    Migrations would take every worker most of a minute; `test_tables` compares what they lead to.
    """
    embedded.ensure_started()
    with django_db_blocker.unblock():
        connections["default"].settings_dict["TEST"]["TEMPLATE"] = template_of_tables()


@pytest.fixture
def roles(db: None) -> None:
    """The groups. A test with real transactions empties all tables when it ends, the roles too."""
    if not Group.objects.filter(name="Finance", permissions__codename="approve_invoice").exists():
        make_roles(apps)


@pytest.fixture
def real_commits(transactional_db: None, roles: None) -> Iterator[None]:
    """Commits that other connections and processes see; nothing of them is remembered afterwards."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    dictionary.forget()
    partitions.forget()
    api.keys.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After every test that left money behind the books hold; but for those marked `books_unchecked`."""
    result = yield
    if item.get_closest_marker("books_unchecked") is None and _left_money(item):
        wrong = [sentence for invariant in INVARIANTS.values() for sentence in invariant()]
        assert not wrong, wrong
    return result


def _left_money(item: pytest.Item) -> bool:
    uses = {"db", "transactional_db"}.intersection(getattr(item, "fixturenames", ()))
    if not uses and item.get_closest_marker("django_db") is None:
        return False
    if connection.needs_rollback:  # the test ends with an error of the database: nothing it wrote will stay
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM invoicing_invoice) OR EXISTS (SELECT FROM contracts_ledgerentry)")
        return bool(cursor.fetchone()[0])
