"""Fixtures for every test."""

import pytest
from django.apps import apps

from billing_project import embedded
from billing_project.roles import make_roles


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Start the embedded PostgreSQL only when the first test needs a database."""
    embedded.ensure_started()


@pytest.fixture
def roles(db: None) -> None:
    """The four groups. A test with real transactions empties all tables when it ends, the roles too."""
    make_roles(apps)
