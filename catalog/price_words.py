"""Prices in the words of the screens: models, their amounts, the columns of their tiers. Pure."""

from catalog.document_form import Word, Words

CHOICES = {
    "per_unit": "Per unit",
    "package": "Package (started packages)",
    "graduated": "Graduated (each unit at the price of its tier)",
    "volume": "Volume (all units at the price of the tier reached)",
    "flat": "Flat fee per period",
    "percentage": "Percentage of the metered amount",
    "graduated_percentage": "Graduated percentage",
    "dynamic": "The metered amount itself",
}
ALL = tuple(CHOICES)
# Field of the format: its label, and the models that have it.
AMOUNTS = {
    "size": ("Units per package", ("package",)),
    "unit_amount": ("Price per unit", ("per_unit",)),
    "amount": ("Amount", ("package", "flat")),
    "free_units": ("Free units", ("per_unit", "package")),
    "percent": ("Percent", ("percentage",)),
    "fixed_amount": ("Fee per event", ("percentage",)),
    "free_events": ("Free events", ("percentage",)),
    "free_amount": ("Free amount", ("percentage",)),
    "minimum_per_event": ("At least, per event", ("percentage",)),
    "maximum_per_event": ("At most, per event", ("percentage",)),
    "multiplier": ("Times", ("dynamic",)),
    "minimum": ("At least, per period", ALL),
    "maximum": ("At most, per period", ALL),
}
TIER_COLUMNS = {
    "up_to": ("Up to", ("graduated", "volume", "graduated_percentage")),
    "unit_amount": ("Price per unit", ("graduated", "volume")),
    "percent": ("Percent", ("graduated_percentage",)),
    "flat_amount": ("Flat fee", ("graduated", "volume", "graduated_percentage")),
    "size": ("Per started", ("graduated", "volume")),
}
TIERED = TIER_COLUMNS["up_to"][1]
PLACEHOLDERS = {"up_to": "no limit", "size": "1", "multiplier": "1", "minimum": "", "maximum": ""}

_TIERS = {name: Word(label, placeholder=PLACEHOLDERS.get(name, "0")) for name, (label, _) in TIER_COLUMNS.items()}
WORDS: Words = {
    "PerUnit": {"": Word(CHOICES["per_unit"])},
    "Package": {"": Word(CHOICES["package"])},
    "Graduated": {"": Word(CHOICES["graduated"]), "tiers": Word("Tiers", "Leave the last limit empty.")},
    "Volume": {"": Word(CHOICES["volume"]), "tiers": Word("Tiers", "Leave the last limit empty.")},
    "Flat": {"": Word(CHOICES["flat"])},
    "Percentage": {"": Word(CHOICES["percentage"])},
    "GraduatedPercentage": {
        "": Word(CHOICES["graduated_percentage"]),
        "tiers": Word("Tiers", "Leave the last limit empty."),
    },
    "Dynamic": {"": Word(CHOICES["dynamic"])},
    "Bounded": {name: Word(label, placeholder=PLACEHOLDERS.get(name, "")) for name, (label, _) in AMOUNTS.items()},
    "Tier": {"": Word("Tier"), **_TIERS},
    "PercentTier": {"": Word("Tier"), **_TIERS},
    "MultiplierTier": {
        "": Word("Tier"),
        "up_to": Word("Up to", placeholder="no limit"),
        "multiplier": Word("Times the rate", placeholder="1"),
    },
}
