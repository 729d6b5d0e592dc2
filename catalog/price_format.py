"""Prices as people and files write them, read into price models and written back.

Pure. The format is the billing file's PRICE: `{"model": "graduated", "tiers": [{"up_to": "5", "unit_amount": "7"},
...]}`; amounts are strings or numbers without loss, never binary floats. Stored in rates, shown in the admin, read by
the engine.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from decimal import Decimal, DecimalException
from itertools import pairwise
from typing import Any

from billing_project.decimals import plain
from catalog.money import ZERO
from catalog.pricing import Flat, Graduated, Package, PerUnit, Price, Tier, Volume

MODELS: dict[str, type[Price]] = {
    "per_unit": PerUnit,
    "package": Package,
    "graduated": Graduated,
    "volume": Volume,
    "flat": Flat,
}
MODEL_NAMES = {cls: name for name, cls in MODELS.items()}
POSITIVE = {"size"}


class PriceError(ValueError):
    """A price that cannot be read; `path` names the field (`tiers[1].up_to`), `message` says what is wrong with it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


def parse_price(written: object) -> Price:
    """Read a price. Raises PriceError naming the field that is missing, unknown or out of range."""
    if not isinstance(written, Mapping):
        raise PriceError("", "a price is an object with a model, such as per_unit")
    model = MODELS.get(str(written.get("model")))
    if model is None:
        raise PriceError("model", f"is {written.get('model')!r}; known models: {', '.join(MODELS)}")
    return model(**_read(model, {key: value for key, value in written.items() if key != "model"}, ""))


def price_as_dict(price: Price) -> dict[str, Any]:
    """Write a price in the billing file's format: decimals as plain strings, defaults left out."""
    return {"model": MODEL_NAMES[type(price)], **_write(price)}


def _write(part: Price | Tier) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name == "tiers":
            written["tiers"] = [_write(tier) for tier in value]
        elif value != field.default:
            written[field.name] = None if value is None else plain(value)
    return written


def _read(model: type[Price | Tier], written: Mapping[str, object], path: str) -> dict[str, Any]:
    known = {field.name: field for field in fields(model)}
    for name in written:
        if name not in known:
            raise PriceError(f"{path}{name}", f"is not a field here; known fields: {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name == "tiers":
            values[name] = _read_tiers(written.get(name), f"{path}{name}")
        elif name in written and not (written[name] is None and field.default is None):
            values[name] = (
                None if name == "up_to" and written[name] is None else _number(written[name], path + name, name)
            )
        elif field.default is MISSING and name != "up_to":
            raise PriceError(f"{path}{name}", "is missing")
        elif name == "up_to":
            values[name] = None
    return values


def _read_tiers(written: object, path: str) -> tuple[Tier, ...]:
    if not isinstance(written, list) or not written:
        raise PriceError(path, "needs a list with at least one tier")
    tiers = []
    for index, row in enumerate(written):
        if not isinstance(row, Mapping):
            raise PriceError(f"{path}[{index}]", "is not an object with up_to and unit_amount")
        tiers.append(Tier(**_read(Tier, row, f"{path}[{index}].")))
    for index, (lower, upper) in enumerate(pairwise(tiers)):
        if lower.up_to is None:
            raise PriceError(f"{path}[{index}].up_to", "is open, so no tier may follow")
        if upper.up_to is not None and upper.up_to <= lower.up_to:
            raise PriceError(f"{path}[{index + 1}].up_to", f"must be above the tier before it ({plain(lower.up_to)})")
    if tiers[-1].up_to is not None:
        raise PriceError(
            f"{path}[{len(tiers) - 1}].up_to", "must be left open in the last tier, or usage above it has no price"
        )
    return tuple(tiers)


def _number(written: object, path: str, name: str) -> Decimal:
    if isinstance(written, bool) or not isinstance(written, str | int | Decimal):
        raise PriceError(path, f'is {written!r}; write the number as text, such as "0.002"')
    try:
        number = Decimal(written)
    except DecimalException as error:
        raise PriceError(path, f"is {written!r}, not a number") from error
    if not number.is_finite() or abs(number.adjusted()) > 60:
        raise PriceError(path, f"is {written!r}; a finite number below 1e60 is needed")
    if number < ZERO or (number == ZERO and name in POSITIVE):
        raise PriceError(path, f"is {written!r}; must {'be above zero' if name in POSITIVE else 'not be negative'}")
    return number
