"""How far an invoice has come in Stripe. Pure."""

# It only ever moves up: events and answers may come in any order.
RANK = {"": 0, "draft": 1, "open": 2, "uncollectible": 3, "paid": 4, "void": 4, "deleted": 4}
