"""Reading a deal: bare dates become instants, every field is checked, references are checked against the catalog.

Pure. A fault names its field as `commits[1].access[0].amount`. Faults of form stop at the first one; faults of meaning
are all collected, so that a form can show them together.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import combinations
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from catalog.documents import DocumentError, read, write
from catalog.group_values import parse_group
from catalog.prices import part_per_event
from contracts.deal import Access, Allowance, ContractDocument, Deal, Overwrite, Scope
from contracts.products import ProductTerms
from contracts.scopes import covers_product
from meters.periods import local_midnight

D = TypeVar("D", bound=Deal)
INSTANTS = frozenset({"at", "starting_at", "ending_before"})
UTC = ZoneInfo("UTC")
VALUES = frozenset({"where", "usage_filter"})  # keys inside are people's own group keys, not fields
BARE_DATE = re.compile(r"\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a deal: where, a stable code, and a sentence."""

    path: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DealError(ValueError):
    """A deal that cannot be accepted, with every fault found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a deal may refer to: the products by key, the custom pricing units of the rate card, the meters by key with
    what they split usage by, the products the card has rates for, and the keys of commits that the customer or those
    above it share.
    """

    products: Mapping[str, ProductTerms]
    units: frozenset[str] = frozenset()
    meters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    priced: frozenset[str] = frozenset()
    shared_commits: frozenset[str] = frozenset()


def parse_deal(written: object, zone: ZoneInfo, catalog: Catalog | None = None) -> Deal:
    """Read the negotiated parts of a contract. Raises DealError."""
    return _parse(Deal, written, zone, catalog)


def parse_contract(written: object, zone: ZoneInfo, catalog: Catalog | None = None) -> ContractDocument:
    """Read a whole contract object of the billing file. `zone` is its customer's; its own goes before. Raises
    DealError.
    """
    named = written.get("timezone") if isinstance(written, Mapping) else None
    if named:
        try:
            zone = ZoneInfo(str(named))
        except (KeyError, ValueError, OSError) as error:
            raise DealError([Fault("timezone", "unknown", f"{named!r} is not a time zone name")]) from error
    return _parse(ContractDocument, written, zone, catalog)


def deal_as_dict(deal: Deal) -> dict[str, Any]:
    """The deal as it is stored and written to files; `parse_deal` gives the same deal back."""
    written: dict[str, Any] = write(deal)
    return written


def deal_of(contract: ContractDocument) -> Deal:
    """The negotiated parts of a contract object, without the columns of the contract."""
    return Deal(**{name: getattr(contract, name) for name in Deal.__struct_fields__})


def faults_of(deal: Deal, catalog: Catalog | None = None, zone: ZoneInfo = UTC) -> list[Fault]:
    """Everything in a well-formed deal that cannot be meant; references only if the catalog is known. Days are named
    as they are in `zone`.
    """
    found = [*_repeated_keys(deal), *_unknown_terms(deal), *_unknown_balances(deal), *_overlapping_access(deal, zone)]
    if catalog is not None:
        found += [*_unknown_products(deal, catalog), *_unknown_units(deal, catalog), *_unnamed_values(deal, catalog)]
        found += [*_unknown_meters(deal, catalog), *_unfilterable(deal, catalog), *_unknown_commits(deal, catalog)]
        found += _prices_of_events(deal, catalog)
    return found


def _parse(kind: type[D], written: object, zone: ZoneInfo, catalog: Catalog | None) -> D:
    try:
        deal: D = read(kind, with_instants(written, zone))
    except DocumentError as error:
        raise DealError([Fault(error.path, error.code, error.message)]) from error
    faults = faults_of(deal, catalog, zone)
    if faults:
        raise DealError(faults)
    return deal


def with_instants(written: object, zone: ZoneInfo) -> object:
    """The same document with bare dates as the first instant of that local day."""
    if isinstance(written, Mapping):
        return {
            key: _instant(value, zone) if key in INSTANTS else (value if key in VALUES else with_instants(value, zone))
            for key, value in written.items()
        }
    if isinstance(written, list | tuple):
        return [with_instants(each, zone) for each in written]
    return written


def _instant(written: object, zone: ZoneInfo) -> object:
    if isinstance(written, date) and not isinstance(written, datetime):
        return local_midnight(written, zone)
    if not isinstance(written, str):
        return written
    try:
        if BARE_DATE.match(written):
            return local_midnight(date.fromisoformat(written), zone)
        return datetime.fromisoformat(written)
    except (ValueError, OverflowError):
        return written  # left as it is, to be refused with its path


def _repeated_keys(deal: Deal) -> Iterator[Fault]:
    balances = [(name, index, each.key) for name in BALANCES for index, each in enumerate(getattr(deal, name))]
    others = [
        [(name, index, each.key) for index, each in enumerate(getattr(deal, name))]
        for name in ("subscriptions", "charges")
    ]
    for places in [balances, *others]:
        seen: set[str] = set()
        for name, index, key in places:
            if key in seen:
                yield Fault(f"{name}[{index}].key", "repeated", f"{key} is used twice")
            seen.add(key)
    features = Counter(each.feature for each in deal.entitlements)
    for index, each in enumerate(deal.entitlements):
        if features[each.feature] > 1:
            yield Fault(f"entitlements[{index}].feature", "repeated", f"{each.feature} is named twice")


BALANCES = ("commits", "credits", "recurring_credits", "recurring_commits")


def _unknown_terms(deal: Deal) -> Iterator[Fault]:
    """References from one term to another."""
    balances = {each.key for name in BALANCES for each in getattr(deal, name)}
    subscriptions = {each.key for each in deal.subscriptions}
    for name in ("recurring_credits", "recurring_commits"):
        for index, each in enumerate(getattr(deal, name)):
            if each.per_seat_of is not None and each.per_seat_of not in subscriptions:
                message = f"{each.per_seat_of} is no subscription of the contract"
                yield Fault(f"{name}[{index}].per_seat_of", "unknown", message)
    for place, key in enumerate(deal.balance_threshold.excluded if deal.balance_threshold else ()):
        if key not in balances:
            yield Fault(f"balance_threshold.excluded[{place}]", "unknown", f"{key} is no commit or credit")


def _unknown_balances(deal: Deal) -> Iterator[Fault]:
    """Features that require a balance nobody has."""
    balances = {each.key for name in BALANCES for each in getattr(deal, name)}
    for index, entitlement in enumerate(deal.entitlements):
        for place, key in enumerate(entitlement.balances):
            if key not in balances:
                path = f"entitlements[{index}].balances[{place}]"
                yield Fault(path, "unknown", f"{key} is no commit or credit of the contract")


def _overlapping_access(deal: Deal, zone: ZoneInfo) -> Iterator[Fault]:
    for name in ("commits", "credits"):
        for index, each in enumerate(getattr(deal, name)):
            for (_, one), (second, other) in combinations(enumerate(each.access), 2):
                if _overlap(one, other):
                    path = f"{name}[{index}].access[{second}].starting_at"
                    yield Fault(
                        path, "overlap", f"overlaps {_named(one, zone)}: use separate keys for separate amounts"
                    )


def _named(access: Access, zone: ZoneInfo) -> str:
    start = access.starting_at
    return f"the amount from {start.astimezone(zone):%-d %B %Y}" if start else "the amount without a start"


def _overlap(one: Access, other: Access) -> bool:
    before = one.ending_before and other.starting_at and one.ending_before <= other.starting_at
    after = other.ending_before and one.starting_at and other.ending_before <= one.starting_at
    return not before and not after


def _scopes(deal: Deal) -> Iterator[tuple[str, Scope]]:
    for name in (*BALANCES, "overrides", "discounts", "minimums"):
        for index, each in enumerate(getattr(deal, name)):
            yield f"{name}[{index}].scope", each.scope


def _unknown_products(deal: Deal, catalog: Catalog) -> Iterator[Fault]:
    tags = {tag for product in catalog.products.values() for tag in product.tags}
    for path, scope in _scopes(deal):
        for index, key in enumerate(scope.products):
            if key not in catalog.products:
                yield Fault(f"{path}.products[{index}]", "unknown", f"there is no product {key}")
        for index, tag in enumerate(scope.tags):
            if tag not in tags:
                yield Fault(f"{path}.tags[{index}]", "unknown", f"no product has the tag {tag}")
    for name, kind in (("subscriptions", "subscription"), ("charges", "fixed")):
        for index, each in enumerate(getattr(deal, name)):
            product = catalog.products.get(each.product)
            if product is None:
                yield Fault(f"{name}[{index}].product", "unknown", f"there is no product {each.product}")
            elif product.kind != kind:
                message = f"{each.product} is a product of kind {product.kind}, this needs one of kind {kind}"
                yield Fault(f"{name}[{index}].product", "kind", message)


def _unknown_units(deal: Deal, catalog: Catalog) -> Iterator[Fault]:
    named = [
        (f"{name}[{index}].unit", each.unit) for name in BALANCES for index, each in enumerate(getattr(deal, name))
    ]
    named += [
        (f"overrides[{index}].unit", each.unit)
        for index, each in enumerate(deal.overrides)
        if isinstance(each, Overwrite)
    ]
    if deal.balance_threshold:
        named.append(("balance_threshold.unit", deal.balance_threshold.unit))
    for path, unit in named:
        if unit and unit not in catalog.units:
            yield Fault(path, "unknown", f"the rate card has no pricing unit {unit}")


def _unknown_meters(deal: Deal, catalog: Catalog) -> Iterator[Fault]:
    for index, each in enumerate(deal.entitlements):
        if not isinstance(each, Allowance):
            continue
        kept = catalog.meters.get(each.meter)
        if kept is None:
            yield Fault(f"entitlements[{index}].meter", "unknown", f"there is no meter {each.meter}")
            continue
        for key in sorted(set(each.where) - set(kept)):
            message = f"meter {each.meter} does not split usage by {key}"
            yield Fault(f"entitlements[{index}].where.{key}", "group", message)


def _unknown_commits(deal: Deal, catalog: Catalog) -> Iterator[Fault]:
    commits = {each.key for each in (*deal.commits, *deal.recurring_commits)} | catalog.shared_commits
    for index, override in enumerate(deal.overrides):
        for place, key in enumerate(override.for_commits):
            if key not in commits:
                message = f"{key} is no commit of the contract, nor one that its customer shares"
                yield Fault(f"overrides[{index}].for_commits[{place}]", "unknown", message)


def _unfilterable(deal: Deal, catalog: Catalog) -> Iterator[Fault]:
    """Every meter the contract bills by splits usage by what the filter names, or its usage could not be told apart."""
    overwrites = [each.scope for each in deal.overrides if isinstance(each, Overwrite)]
    meters = {
        product.meter
        for product in catalog.products.values()
        if product.key in catalog.priced or any(covers_product(scope, product) for scope in overwrites)
    }
    for key in deal.usage_filter:
        lacking = sorted(meter for meter in meters if meter and key not in catalog.meters.get(meter, (key,)))
        if lacking:
            message = f"meter {lacking[0]} does not split usage by {key}, and the rate card prices it"
            yield Fault(f"usage_filter.{key}", "group", message)


def _unnamed_values(deal: Deal, catalog: Catalog) -> Iterator[Fault]:
    """An overwrite gives every pricing key a value; anything else may only name keys the product has."""
    overwrites = {f"overrides[{i}].scope" for i, each in enumerate(deal.overrides) if isinstance(each, Overwrite)}
    for path, scope in _scopes(deal):
        try:
            named = set(parse_group(scope.where))
        except ValueError as error:
            yield Fault(f"{path}.where", "group", str(error))
            continue
        meant = [product for product in catalog.products.values() if covers_product(scope, product)]
        if path in overwrites:
            yield from _misnamed_overwrite(path, scope, named, meant)
        elif named and not any(named <= set(product.group_by) for product in meant):
            yield Fault(f"{path}.where", "group", f"no product in scope has the group keys {', '.join(sorted(named))}")


def _prices_of_events(deal: Deal, catalog: Catalog) -> Iterator[Fault]:
    """Overwrites with parts per event, of products that have no events."""
    for index, each in enumerate(deal.overrides):
        part = part_per_event(each.price) if isinstance(each, Overwrite) else ""
        named = (catalog.products[key] for key in each.scope.products if key in catalog.products)
        if part and any(product.kind != "usage" for product in named):
            message = "looks at single events, which only usage has"
            yield Fault(f"overrides[{index}].price.{part}", "events", message)


def _misnamed_overwrite(path: str, scope: Scope, named: set[str], meant: Iterable[ProductTerms]) -> Iterator[Fault]:
    if not scope.products and not scope.tags:
        yield Fault(path, "overwrite", "an overwrite names the products it prices")
        return
    for product in meant:
        if named != set(product.pricing_keys):
            keys = ", ".join(product.pricing_keys) or "none"
            yield Fault(f"{path}.where", "group", f"name every pricing key of {product.key} and no other ({keys})")
