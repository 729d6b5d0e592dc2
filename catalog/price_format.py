"""Reading and writing prices. Pure."""

from collections.abc import Mapping
from typing import Any, get_args

from catalog.documents import DocumentError, read, write
from catalog.prices import MultiplierTier, Price, Tiered, WrittenPrice

PriceError = DocumentError
MODELS = {str(model.__struct_config__.tag): model for model in get_args(WrittenPrice)}


def parse_price(written: object, path: str = "") -> WrittenPrice:
    """Read a price. Raises PriceError naming the field that is missing, unknown or out of range."""
    if not isinstance(written, Mapping):
        raise PriceError(path, "a price is an object with a model, such as per_unit", "type")
    if written.get("model") not in MODELS:
        place = f"{path}.model" if path else "model"
        raise PriceError(place, f"is {written.get('model')!r}; known models: {', '.join(MODELS)}", "model")
    price: WrittenPrice = read(WrittenPrice, written, path)
    return price


def parse_charged_price(written: object) -> Price:
    """Read the price of a line: as `parse_price`, or a price under a tiered override as `price_as_dict` writes it."""
    if isinstance(written, Mapping) and written.get("model") == "tiered":
        shares = tuple(read(MultiplierTier, each, "shares") for each in written["shares"])
        return Tiered(parse_price(written["price"], "price"), shares)
    return parse_price(written)


def price_as_dict(price: Price) -> dict[str, Any]:
    """Write a price in the billing file's format: decimals as plain strings, defaults left out. A price under a tiered
    override is written as that price and the shares of it that are charged.
    """
    if isinstance(price, Tiered):
        return {"model": "tiered", "price": write(price.price), "shares": write(price.shares)}
    written: dict[str, Any] = write(price)
    return written
