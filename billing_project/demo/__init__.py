"""A company that sells tokens of two language models, with real usage: what `manage.py demo` shows."""
