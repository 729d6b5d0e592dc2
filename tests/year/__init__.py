"""A year of a made-up business through the real verbs, with a clock that is moved."""
