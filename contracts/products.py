"""Products as contracts sell them. Pure."""

from dataclasses import dataclass, field

from catalog.pricing import Conversion
from contracts.deal import EVERYTHING, Scope


@dataclass(frozen=True, slots=True)
class ProductTerms:
    """A product as a contract sells it: where its quantity comes from and how lines are made of it.

    `kind` is usage, subscription, fixed or percent_of_spend; `of` says of which products' spend.
    """

    key: str
    name: str
    meter: str = ""
    aggregation: str = ""
    pricing_keys: tuple[str, ...] = ()
    presentation_keys: tuple[str, ...] = ()
    conversion: Conversion = field(default_factory=Conversion)
    kind: str = "usage"
    tags: tuple[str, ...] = ()
    of: Scope = EVERYTHING
    tax_category: str = ""

    @property
    def group_by(self) -> tuple[str, ...]:
        return self.pricing_keys + self.presentation_keys
