"""How often Python looks for cycles: as before, once the work is done."""

import gc

import pytest

from billing_project.garbage import NEW_OBJECTS, collected_seldom


def test_it_is_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with collected_seldom():
        assert gc.get_threshold()[0] == NEW_OBJECTS
    assert gc.get_threshold() == before
    with pytest.raises(ValueError, match="wrong"), collected_seldom():
        raise ValueError("wrong")
    assert gc.get_threshold() == before
