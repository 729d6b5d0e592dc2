"""What the API answers to requests nobody thought of, made by schemathesis from the API's own description.

    python -m tests.fuzz                       10,000 requests and more, against gunicorn with a database of its own
    python -m tests.fuzz --examples 50         fewer: so many for each operation and phase
    python -m tests.fuzz --seed 7              others

Fails on an answer that `/api/schema/` does not announce: status, content type, header or body. What failed is printed
as a curl command.
"""
