"""What the demo puts in its database, in one transaction: all of it or nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import TypeVar

from django.contrib.auth.models import Group, User
from django.db import connection, models, transaction
from django.utils.crypto import salted_hmac

from billing_project.demo.trace import EVENT_TYPE
from billing_project.models import ApiKey, Scope, digest
from catalog.models import Product, Rate, RateCard
from contracts.models import Contract, Customer
from meters.models import Event, Meter

Row = TypeVar("Row", bound=models.Model)
MARK = "demo-llm-2023"  # the key of the rate card by which a demo's database is known
MONTH = (datetime(2023, 11, 1, tzinfo=UTC), datetime(2023, 12, 1, tzinfo=UTC))
ROLES = {"sales": "Sales ops", "finance": "Finance", "auditor": "Auditor", "admin": "everything"}
MILLION = 1_000_000
# US dollars per million tokens: what gpt-4o-mini and gpt-4o cost.
PRICES = {
    "input": {"code": "0.15", "conv": "2.50"},
    "output": {"code": "0.60", "conv": "10.00"},
}
NAMES = [
    "Alder",
    "Ash",
    "Beech",
    "Birch",
    "Cedar",
    "Chestnut",
    "Cypress",
    "Elm",
    "Fir",
    "Hazel",
    "Hornbeam",
    "Juniper",
    "Larch",
    "Linden",
    "Maple",
    "Oak",
    "Pine",
    "Poplar",
    "Rowan",
    "Willow",
]


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the demo; no password where somebody changed it."""

    name: str
    role: str
    password: str | None


def is_loaded() -> bool:
    return _has_rows(RateCard, key=MARK)


def foreign_rows() -> list[str]:
    """What a database that is not a demo's holds, by name; empty if nothing."""
    if is_loaded():
        return []
    kinds: list[type[models.Model]] = [User, Meter, Product, RateCard, Customer, Contract, Event]
    return [str(kind._meta.verbose_name_plural) for kind in kinds if _has_rows(kind)]


def erase() -> None:
    """Drop every table of the database's schema."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '10s'")
        cursor.execute("SELECT quote_ident(current_schema())")
        schema = cursor.fetchone()[0]
        cursor.execute(f"DROP SCHEMA {schema} CASCADE")
        cursor.execute(f"CREATE SCHEMA {schema}")


@transaction.atomic
def load(now: datetime) -> None:
    _load_users()
    card = _load_catalog()
    _load_contracts(card, now)
    ingestion_key()


def ingestion_key() -> str:
    """The secret of a key that may send events; one that was revoked is followed by another."""
    for number in count():
        noise = salted_hmac(f"countinghouse.demo.key:{number}", MARK, algorithm="sha256").hexdigest()
        secret = f"ch_{noise[:8]}_{noise[8:]}"
        key, _ = ApiKey.objects.get_or_create(
            digest=digest(secret),
            defaults={"name": "Demo: sends usage events", "prefix": noise[:8], "scopes": [Scope.INGEST]},
        )
        if key.revoked_at is None:
            return secret
    raise AssertionError("unreachable")


def logins() -> Iterator[Login]:
    for user in User.objects.filter(username__in=ROLES).order_by("pk"):
        password = _password(user.username)
        yield Login(user.username, ROLES[user.username], password if user.check_password(password) else None)


def _has_rows(model: type[models.Model], **lookup: str) -> bool:
    tables = connection.introspection.table_names(include_views=True)
    return model._meta.db_table in tables and model._default_manager.filter(**lookup).exists()


def _password(name: str) -> str:
    """Derived from the secret key: another installation's demo has other passwords."""
    letters = salted_hmac("countinghouse.demo.password", name, algorithm="sha256").hexdigest()
    return f"{letters[:5]}-{letters[5:10]}-{letters[10:15]}"


def _load_users() -> None:
    for name, role in ROLES.items():
        password = _password(name)
        if name == "admin":
            User.objects.create_superuser(name, password=password)
        else:
            user = User.objects.create_user(name, password=password, is_staff=True)
            user.groups.add(Group.objects.get(name=role))


def _load_catalog() -> RateCard:
    card = _save(RateCard(key=MARK, name="Language models, list prices", currency="USD"))
    for direction, prices in PRICES.items():
        meter = _save(
            Meter(
                key=f"{direction}-tokens",
                name=f"{direction.title()} tokens",
                event_types=[EVENT_TYPE],
                aggregation="sum",
                value_property=f"{direction}_tokens",
                group_by=["service"],
            )
        )
        product = _save(
            Product(
                key=f"{direction}-tokens",
                name=f"{direction.title()} tokens, in millions",
                meter=meter,
                pricing_keys=["service"],
                divide_by=MILLION,
            )
        )
        for service, amount in prices.items():
            price = {"model": "per_unit", "unit_amount": amount}
            _save(Rate(rate_card=card, product=product, where={"service": service}, price=price))
    return card


def _load_contracts(card: RateCard, now: datetime) -> None:
    """November 2023, which the trace falls in, and the current month, so that an event sent today is billed too."""
    this_month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for number, name in enumerate(NAMES, start=1):
        key = f"cust-{number:02}"
        customer = _save(
            Customer(
                key=key,
                name=f"{name} Example Ltd",
                email=f"billing@{name.lower()}.example",
                address=f"{number} Example Street\nExampletown",
            )
        )
        _save(
            Contract(
                key=key,
                name=f"{customer.name}, 2023",
                customer=customer,
                rate_card=card,
                starting_at=MONTH[0],
                ending_before=MONTH[1],
            )
        )
        _save(
            Contract(
                key=f"{key}-renewed",
                name=f"{customer.name}, renewed",
                customer=customer,
                rate_card=card,
                starting_at=this_month,
            )
        )


def _save(row: Row) -> Row:
    row.full_clean()
    row.save()
    return row
