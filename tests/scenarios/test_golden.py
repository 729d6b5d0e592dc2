"""Golden cases through the whole path. All of them: `python -m tests.scenarios.golden`, which takes a minute."""

from pytest_django import DjangoDbBlocker

from tests.scenarios.golden import FILES, golden, wrong


def test_credits(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock():
        assert list(wrong(golden("credits"))) == []


def test_worked_examples(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock():
        assert list(wrong(golden("worked_examples"))) == []


def test_every_case_can_be_written() -> None:
    assert sum(len(golden(file)) for file in FILES) > 200
