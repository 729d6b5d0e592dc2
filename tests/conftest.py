"""Fixtures for every test."""

import pytest

from billing_project import embedded


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Start the embedded PostgreSQL only when the first test needs a database."""
    embedded.ensure_started()
