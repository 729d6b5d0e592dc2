"""Deals made at random, the same for the same number: every rule of a usage statement meets every other."""

import random
from datetime import timedelta
from fractions import Fraction
from typing import Any

from tests.contracts.second_charges import Deal
from tests.contracts.worked import JANUARY

Written = dict[str, Any]
PLACES = {"USD": 2, "JPY": 0, "KWD": 3}
AGGREGATIONS = ["sum"] * 5 + ["count", "max", "unique_count"]
MODELS = ["per_unit", "graduated", "volume", "package", "percentage", "graduated_percentage", "dynamic"]


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 the same deals every time
        self.currency = self.random.choice(["USD", "USD", "USD", "JPY", "KWD"])
        self.tags = ["ai", "storage"]

    def often(self, share: float) -> bool:
        return self.random.random() < share

    def decimal(self, least: float, most: float, places: int = 2) -> str:
        return str(round(self.random.uniform(least, most), places))

    def money(self, most: float) -> str:
        return self.decimal(1, most, 0 if self.currency == "JPY" else 2)

    def instant(self) -> str:
        hours = self.random.choice([0, 0, 9, 13.5])
        return (JANUARY.starting_at + timedelta(days=self.random.randint(1, 30), hours=hours)).isoformat()

    def window(self, share: float = 0.6) -> dict[str, str]:
        start, end = sorted([self.instant(), self.instant()])
        window = {"starting_at": start} if self.often(share) else {}
        return window | ({"ending_before": end} if start != end and self.often(share) else {})

    def price(self, *models: str) -> Written:
        model = self.random.choice(models or MODELS)
        made: Written = {"model": model}
        if model == "per_unit":
            made["unit_amount"] = self.decimal(0.01, 3, 4)
        elif model == "package":
            made |= {"size": str(self.random.choice([3, 10, 25])), "amount": self.decimal(0.5, 20)}
        elif model == "percentage":
            made |= self._percentage()
        elif model == "dynamic":
            made["multiplier"] = self.decimal(0.1, 2)
        else:
            name = "percent" if model == "graduated_percentage" else "unit_amount"
            bounds = sorted(self.random.sample(range(1, 150), self.random.randint(1, 3)))
            made["tiers"] = [self._tier(name, str(bound)) for bound in bounds] + [self._tier(name, None)]
        if model in ("per_unit", "package") and self.often(0.3):
            made["free_units"] = str(self.random.randint(1, 30))
        return made

    def _percentage(self) -> Written:
        parts = {
            "fixed_amount": (0.4, self.decimal(0.01, 2)),
            "free_events": (0.2, str(self.random.randint(1, 3))),
            "free_amount": (0.2, str(self.random.randint(1, 60))),
            "minimum_per_event": (0.2, self.decimal(0.1, 3)),
            "maximum_per_event": (0.2, self.decimal(3, 9)),
        }
        chosen = {name: amount for name, (share, amount) in parts.items() if self.often(share)}
        return {"percent": self.decimal(0.1, 30), **chosen}

    def _tier(self, name: str, bound: str | None) -> Written:
        flat = {"flat_amount": self.decimal(1, 15)} if self.often(0.15) else {}
        return {"up_to": bound, name: self.decimal(0.01, 4, 3), **flat}

    def scope(self, products: list[Written]) -> Written:
        chance = self.random.random()
        if chance < 0.3:
            chosen = self.random.sample(products, self.random.randint(1, len(products)))
            return {"scope": {"products": [product["key"] for product in chosen]}}
        if chance < 0.45:
            return {"scope": {"tags": [self.random.choice(self.tags)]}}
        priced = [product for product in products if "pricing_keys" in product]
        if chance < 0.6 and priced:
            where = {"model": self.random.choice("ab")}
            return {"scope": {"products": [self.random.choice(priced)["key"]], "where": where}}
        return {}

    def deal(self) -> Deal:
        products = [self._product(f"p{number}") for number in range(self.random.randint(1, 3))]
        rates = [rate for product in products for rate in self._rates(product)]
        terms: Written = {"commits": [self._commit(f"c{number}", products) for number in range(self._few())]}
        terms["credits"] = [self._credit(f"d{number}", products) for number in range(self._few() // 2)]
        terms["overrides"] = [self._override(products, terms["commits"]) for _ in range(self._few())]
        if any(rate["price"]["model"] in ("percentage", "package") or "free_units" in rate["price"] for rate in rates):
            # What a tiered override does to packages and single events is told by worked examples.
            terms["overrides"] = [each for each in terms["overrides"] if each["kind"] != "tiered"]
        terms["discounts"] = [self._discount(products) for _ in range(self._few() // 2)]
        if self.often(0.2):
            chosen = {"scope": {"products": [self.random.choice(products)["key"]]}} if self.often(0.4) else {}
            terms["minimums"] = [{"amount": str(self.random.randint(20, 200)), **chosen}]
        uses = [self._use(self.random.choice(products)) for _ in range(self.random.randint(0, 14))]
        if self.often(0.25):
            share: Written = {"key": "support", "of": {"products": [product["key"] for product in products]}}
            products = [*products, share]
            rates += self._dated({"product": "support"}, self._share)
        tax = Fraction(self.random.choice(["0", "0", "0.19", "0.07"]))
        period = JANUARY
        return Deal(period.starting_at, period.ending_before, PLACES[self.currency], products, rates, terms, uses, tax)

    def _share(self) -> Written:
        if self.often(0.5):
            return {"model": "percentage", "percent": self.decimal(0.1, 30)}
        tiers = [{"up_to": str(self.random.randint(5, 80)), "percent": self.decimal(1, 20)}]
        return {"model": "graduated_percentage", "tiers": [*tiers, {"percent": self.decimal(1, 9)}]}

    def _few(self) -> int:
        return self.random.choice([0, 0, 1, 2, 3])

    def _product(self, key: str) -> Written:
        product: Written = {"key": key, "meter": key, "aggregation": self.random.choice(AGGREGATIONS)}
        product["tags"] = [tag for tag in self.tags if self.often(0.4)]
        if self.often(0.4):
            product["pricing_keys"] = ["model"]
        if self.often(0.3):
            product["presentation_keys"] = ["region"]
        if self.often(0.3):
            product["conversion"] = {"divide_by": self.random.choice(["2", "3", "7", "0.5", "3600"])}
        if self.often(0.3):
            method = self.random.choice(["up", "down", "half_up"])
            product["quantity_rounding"] = {"method": method, "places": self.random.choice([0, 0, 1])}
        return product

    def _rates(self, product: Written) -> list[Written]:
        groups = [{"where": {"model": model}} for model in "ab"] if "pricing_keys" in product else [{}]
        models = MODELS if product["aggregation"] == "sum" else [model for model in MODELS if model != "percentage"]
        rates = []
        for group in groups:
            bounds = {"minimum": self.decimal(5, 60)} if self.often(0.1) else {}
            bounds |= {"maximum": self.decimal(60, 150)} if self.often(0.1) else {}
            dated = self._dated({"product": product["key"], **group}, lambda: self.price(*models))
            for rate in dated:
                rate["price"] |= bounds
                if self.often(0.3):
                    rate["commit_price"] = self.price("per_unit", "graduated") | bounds
            rates += dated
        return rates

    def _dated(self, rate: Written, price: Any) -> list[Written]:
        if not self.often(0.4):
            return [{**rate, "price": price()}]
        at = self.instant()
        return [{**rate, "price": price(), "ending_before": at}, {**rate, "price": price(), "starting_at": at}]

    def _commit(self, key: str, products: list[Written]) -> Written:
        commit = {"key": key, "priority": self.random.randint(1, 3), **self.scope(products)}
        window = {"amount": self.money(120), **self.window()}
        if self.often(0.25):
            ends = window.get("ending_before", self.random.choice(["2026-02-01T00:00:00+00:00"] * 2))
            return {**commit, "kind": "postpaid", "access": [{**window, "ending_before": ends}]}
        if self.often(0.2):
            at = self.instant()
            commit["access"] = [
                {"amount": self.money(60), "ending_before": at},
                {"amount": self.money(60), "starting_at": at},
            ]
        else:
            commit["access"] = [window]
        commit |= {"invoices": [{"amount": "10", "at": "2026-01-01"}]} if self.often(0.4) else {}
        commit |= {"rate": "commit"} if self.often(0.4) else {}
        return commit | ({"overage_multiplier": self.random.choice(["1.25", "1.5"])} if self.often(0.2) else {})

    def _credit(self, key: str, products: list[Written]) -> Written:
        access = [{"amount": self.money(60), **self.window()}]
        return {"key": key, "priority": self.random.randint(1, 3), "access": access, **self.scope(products)}

    def _override(self, products: list[Written], commits: list[Written]) -> Written:
        kind = self.random.choice(["multiplier", "multiplier", "tiered", "overwrite"])
        override: Written = {"kind": kind, **self.window(0.4), **self.scope(products)}
        if kind == "overwrite":
            product = self.random.choice(products)
            where = {"where": {"model": self.random.choice("ab")}} if "pricing_keys" in product else {}
            override |= {
                "scope": {"products": [product["key"]], **where},
                "price": self.price("per_unit", "graduated"),
            }
        elif kind == "tiered":
            bounds = [str(self.random.randint(1, 60)), None]
            override["tiers"] = [{"up_to": bound, "multiplier": self.decimal(0.3, 1.5)} for bound in bounds]
        else:
            override["multiplier"] = self.decimal(0.1, 1.6)
        if kind != "overwrite" and self.often(0.3):
            override["priority"] = self.random.randint(1, 3)
        if commits and self.often(0.35):
            override["for_commits"] = [self.random.choice(commits)["key"]]
        return override | ({"target": "commit"} if self.often(0.15) else {})

    def _discount(self, products: list[Written]) -> Written:
        off = {"percent": self.decimal(1, 60, 1)} if self.often(0.6) else {"amount": self.money(30)}
        return {**off, **self.window(0.4), **self.scope(products)}

    def _use(self, product: Written) -> tuple[str, Any, str, dict[str, str]]:
        at = JANUARY.starting_at + timedelta(seconds=self.random.randrange(31 * 86400))
        group = {"model": self.random.choice("ab"), "region": self.random.choice(["eu", "us"])}
        return product["key"], at, self.decimal(0, 60, self.random.choice([0, 0, 1])), group
