"""Whether a term is about a product and group. Pure."""

from catalog.group_values import Group, parse_group
from contracts.deal import EVERYTHING, Scope
from contracts.products import ProductTerms


def covers_product(scope: Scope, product: ProductTerms) -> bool:
    """Products named and products with a tag named are both meant; a scope that names neither means every product."""
    if not scope.products and not scope.tags:
        return True
    return product.key in scope.products or not set(scope.tags).isdisjoint(product.tags)


def covers(scope: Scope, product: ProductTerms, group: Group) -> bool:
    """Whether usage of a product and group is in scope: the product is, and its group has every value named."""
    if scope is EVERYTHING:
        return True
    if not covers_product(scope, product):
        return False
    return not scope.where or parse_group(scope.where).items() <= dict(group).items()


def names_all(scope: Scope, product: ProductTerms, group: Group) -> bool:
    """Whether a scope covers the product and names exactly its pricing group values, as an overwrite must."""
    priced_by = {key: value for key, value in group if key in product.pricing_keys}
    return covers_product(scope, product) and parse_group(scope.where) == priced_by


def products_named(scope: Scope) -> int | None:
    """How many products a scope names, each tag counted as one; None for all of them."""
    return len(scope.products) + len(scope.tags) or None
