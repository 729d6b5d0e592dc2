"""A statement worked out a second time, in fractions and from the rules alone, for comparison with `build_statement`.

Usage, discounts, bounds of a line, commits and credits, shares of spend, minimums, true-ups and tax of one billing
period in one currency. Slow and plain: it shares no code with what it is compared with.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import Any

from tests.contracts.second_charges import (
    FAR,
    PAID_FIRST,
    PAST,
    Charge,
    Deal,
    Fund,
    Result,
    Use,
    about,
    aggregate,
    charges_each_event,
    charges_nothing_used,
    edges,
    holds,
    instant,
    parts,
    unit_price,
)
from tests.contracts.second_prices import NOTHING, Written, bought, converted, half_up, number, times


class Statement:
    def __init__(self, deal: Deal) -> None:
        self.deal = deal
        self.overrides: list[Written] = deal.terms.get("overrides", [])
        self.discounts: list[Written] = deal.terms.get("discounts", [])
        self.funds = sorted(self._funds(), key=self._burn_down)

    def result(self) -> Result:
        charges = [charge for product in self.deal.products if "meter" in product for charge in self._usage(product)]
        self._discount(charges, self.discounts)
        paid = self._pay(self._bounded(charges))
        shares = [charge for product in self.deal.products if "of" in product for charge in self._share(product, paid)]
        self._discount(shares, [discount for discount in self.discounts if "percent" in discount])
        paid += self._pay(self._bounded(shares))
        due = sum((charge.net - charge.drawn for charge in paid), NOTHING) + self._minimums(paid) + self._true_ups()
        left = {(fund.written["key"], fund.segment): fund.left for fund in self.funds}
        return Result(due + half_up(due * self.deal.tax, self.deal.places), left)

    # Which price

    def rate(self, product: Written, where: dict[str, str], at: datetime) -> Written | None:
        mine = (rate for rate in self.deal.rates if rate["product"] == product["key"])
        return next((rate for rate in mine if rate.get("where", {}) == where and holds(rate, at)), None)

    def price(
        self, product: Written, group: dict[str, str], at: datetime, payer: Written | None = None
    ) -> Written | None:
        where = {key: group[key] for key in product.get("pricing_keys", ()) if key in group}
        rate = self.rate(product, where, at)
        meant = [each for each in self.overrides if holds(each, at) and self._is_about(each, product, group, where)]
        commit_rate = payer is not None and payer.get("rate") == "commit"
        agreed = any(each["kind"] == "overwrite" and each.get("target") == "commit" for each in meant)
        target = "commit" if commit_rate and (agreed or (rate is not None and "commit_price" in rate)) else "list"
        key = payer["key"] if payer else None
        meant = [each for each in meant if each.get("target", "list") == target]
        own = [each for each in meant if key in each.get("for_commits", ())]
        listed = rate and (rate["commit_price"] if target == "commit" and "commit_price" in rate else rate["price"])
        for_all = [each for each in meant if not each.get("for_commits")]
        agreed_price: Written | None = self._overridden(listed, own) or self._overridden(listed, for_all, listed)
        return agreed_price

    def _is_about(self, override: Written, product: Written, group: dict[str, str], where: dict[str, str]) -> bool:
        scope = override.get("scope", {})
        if override["kind"] == "overwrite":
            return about(scope, product) and bool(scope.get("where", {}) == where)
        return about(scope, product, group)

    @staticmethod
    def _overridden(listed: Any, overrides: list[Written], without: Any = None) -> Any:
        written = [each for each in overrides if each["kind"] == "overwrite"]
        if written:
            return written[-1]["price"]
        if not overrides or listed is None:
            return without

        def first(placed: tuple[int, Written]) -> tuple[bool, int, Fraction, int]:
            place, each = placed
            factor = each["tiers"][0]["multiplier"] if each["kind"] == "tiered" else each["multiplier"]
            return ("priority" not in each, each.get("priority", 0), number(factor), -place)

        chosen = min(enumerate(overrides), key=first)[1]
        if chosen["kind"] == "tiered":
            return {**listed, "shares": chosen["tiers"]}
        return times(listed, number(chosen["multiplier"]))

    # Usage

    def _usage(self, product: Written) -> Iterator[Charge]:
        keys = [*product.get("pricing_keys", ()), *product.get("presentation_keys", ())]
        groups: dict[tuple[str, ...], list[Use]] = {}
        for use in sorted(self.deal.uses, key=lambda use: use[1]):
            if use[0] == product["key"]:
                groups.setdefault(tuple(use[3][key] for key in keys), []).append(use)
        used = []
        for values, uses in sorted(groups.items()):
            group = dict(zip(keys, values, strict=True))
            found = list(self._slices(product, group, uses))
            if found:
                used.append({key: group[key] for key in product.get("pricing_keys", ())})
            yield from found
        yield from self._unused(product, used)

    def _slices(self, product: Written, group: dict[str, str], uses: list[Use]) -> Iterator[Charge]:
        metered = billed = NOTHING
        first = True
        earlier: list[Fraction] = []
        seen: list[Fraction] = []
        for start, end in self._spans(product, group):
            values = [number(use[2]) for use in uses if start <= use[1] < end]
            before = aggregate(product["aggregation"], seen)
            seen = seen + values
            units = aggregate(product["aggregation"], seen) - before
            price = self.price(product, group, start)
            if not values or not (units or (price and charges_each_event(price))):
                continue
            metered += units
            prior, billed = billed, converted(product, metered)
            each = [converted({**product, "quantity_rounding": None}, value) for value in values]
            if price is not None:
                taken = None if first else prior
                yield self._charge("usage", product, group, start, price, taken, billed - prior, each, list(earlier))
            first = False
            earlier += each

    def _spans(self, product: Written, group: dict[str, str]) -> list[tuple[datetime, datetime]]:
        """The period cut wherever the terms of a group change, or who may pay for it, or what is off."""
        start, end = self.deal.start, self.deal.end
        apart = set(edges(self._apart(product)))
        rates = [rate for rate in self.deal.rates if rate["product"] == product["key"]]
        cuts = {at for at in [*apart, *edges([*rates, *self.overrides])] if start < at < end}
        where = {key: group[key] for key in product.get("pricing_keys", ())}

        def terms(at: datetime) -> tuple[object, ...]:
            paying = [
                place
                for place, each in enumerate(self.overrides)
                if (each.get("for_commits") or each.get("target") == "commit")
                and holds(each, at)
                and self._is_about(each, product, group, where)
            ]
            held = sum(edge <= at for edge in apart)
            return id(self.rate(product, where, at)), self.price(product, group, at), paying, held

        starts = [start, *(at for at in sorted(cuts))]
        kept = [at for place, at in enumerate(starts) if not place or terms(at) != terms(starts[place - 1])]
        return list(zip(kept, [*kept[1:], end], strict=True))

    def _apart(self, product: Written) -> list[Written]:
        found = [fund.window for fund in self.funds if about(fund.written.get("scope", {}), product)]
        found += [discount for discount in self.discounts if about(discount.get("scope", {}), product)]
        for share in (each for each in self.deal.products if "of" in each and about(each["of"], product)):
            found += [rate for rate in self.deal.rates if rate["product"] == share["key"]]
            found += [override for override in self.overrides if about(override.get("scope", {}), share)]
        return found

    def _unused(self, product: Written, used: list[dict[str, str]]) -> Iterator[Charge]:
        """A flat fee in the first tier and a minimum are due without usage."""
        last: dict[str, Charge] = {}
        mine = [rate for rate in self.deal.rates if rate["product"] == product["key"]]
        for rate in sorted(mine, key=lambda rate: instant(rate.get("starting_at"), PAST)):
            where = rate.get("where", {})
            at = max(instant(rate.get("starting_at"), self.deal.start), self.deal.start)
            price = self.price(product, where, at)
            if where in used or not holds(rate, at) or price is None or not charges_nothing_used(price):
                continue
            last[str(where)] = self._charge("usage", product, where, at, price, None, NOTHING)
        yield from last.values()

    def _charge(
        self,
        kind: str,
        product: Written,
        group: dict[str, str],
        at: datetime,
        price: Written,
        prior: Fraction | None,
        units: Fraction,
        events: Sequence[Fraction] = (),
        earlier: Sequence[Fraction] = (),
    ) -> Charge:
        charge = Charge(kind, product, group, at, price, prior, units, events, earlier)
        charge.exact = charge.cost(price, prior, units)
        charge.amount = half_up(charge.exact, self.deal.places)
        return charge

    # Discounts, bounds, shares of spend, minimums

    def _discount(self, charges: list[Charge], discounts: list[Written]) -> None:
        for discount in (each for each in discounts if "percent" in each):
            for sign in (1, -1):
                meant = [each for each in charges if self._discounts(discount, each) and each.net * sign > 0]
                share = number(discount["percent"]) / 100
                self._take(meant, half_up(sum((each.net for each in meant), NOTHING) * share, self.deal.places))
        for discount in (each for each in discounts if "amount" in each):
            meant = [each for each in charges if self._discounts(discount, each) and each.net > 0]
            spent = sum((each.net for each in meant), NOTHING)
            self._take(meant, half_up(min(spent, number(discount["amount"])), self.deal.places))

    @staticmethod
    def _discounts(discount: Written, charge: Charge) -> bool:
        return holds(discount, charge.at) and about(discount.get("scope", {}), charge.product, charge.group)

    def _take(self, charges: list[Charge], off: Fraction) -> None:
        for charge, part in zip(charges, parts(off, [charge.net for charge in charges], self.deal.places), strict=True):
            charge.off -= part

    def _bounded(self, charges: list[Charge]) -> list[Charge]:
        groups: dict[tuple[str, str], list[Charge]] = {}
        for charge in charges:
            groups.setdefault((charge.product["key"], str(sorted(charge.group.items()))), []).append(charge)
        result = []
        for group in groups.values():
            running = NOTHING
            for charge in sorted(group, key=lambda charge: charge.at):
                most = (charge.price or {}).get("maximum")
                excess = running + charge.net - self._rounded(most) if most is not None else NOTHING
                charge.off -= max(excess, NOTHING)
                running += charge.net
                last = charge
            result += group
            least = (last.price or {}).get("minimum")
            missing = self._rounded(least) - running
            if least is not None and missing > 0:
                result.append(
                    replace(last, kind="minimum", price=None, amount=missing, exact=missing, off=NOTHING, units=NOTHING)
                )
        return result

    def _rounded(self, written: Any) -> Fraction:
        return half_up(number(written), self.deal.places)

    def _share(self, product: Written, paid: list[Charge]) -> Iterator[Charge]:
        """A percentage of what its products came to, in runs of time under the same terms."""
        meant = sorted((charge for charge in paid if about(product["of"], charge.product)), key=lambda each: each.at)

        def terms(at: datetime) -> tuple[object, ...]:
            paying = [
                place
                for place, each in enumerate(self.overrides)
                if (each.get("for_commits") or each.get("target") == "commit")
                and holds(each, at)
                and about(each.get("scope", {}), product, {})
            ]
            return id(self.rate(product, {}, at)), self.price(product, {}, at), paying

        prior: Fraction | None = None
        while meant:
            run = [charge for charge in meant if terms(charge.at) == terms(meant[0].at)]
            later = next((place for place, charge in enumerate(meant) if charge not in run), len(meant))
            run, at, meant = meant[:later], meant[0].at, meant[later:]
            spent = sum((charge.net for charge in run), NOTHING)
            price = self.price(product, {}, at)
            if price is not None:
                yield self._charge("percent_of_spend", product, {}, at, price, prior, spent)
                prior = (prior or NOTHING) + spent

    def _minimums(self, paid: list[Charge]) -> Fraction:
        added = NOTHING
        for minimum in sorted(self.deal.terms.get("minimums", ()), key=lambda each: "scope" not in each):
            scope = minimum.get("scope", {})
            spent = sum((charge.net for charge in paid if about(scope, charge.product, charge.group)), NOTHING)
            spent += added if not scope else NOTHING
            added += max(number(minimum["amount"]) - spent, NOTHING)
        return added

    # Commits and credits

    def _funds(self) -> Iterator[Fund]:
        for name in ("commits", "credits"):
            for written in self.deal.terms.get(name, ()):
                for segment, window in enumerate(written["access"]):
                    yield Fund(written, window, name == "credits", number(window["amount"]), segment)

    @staticmethod
    def _burn_down(fund: Fund) -> tuple[object, ...]:
        written = fund.written
        scope = written.get("scope", {})
        named = len(scope.get("products", ())) + len(scope.get("tags", ()))
        paid = fund.postpaid or any(number(bill["amount"]) for bill in written.get("invoices", ()))
        ends, starts = instant(fund.window.get("ending_before"), FAR), instant(fund.window.get("starting_at"), PAST)
        place = (named == 0, named, len(scope.get("where", {})), ends, starts, written["key"], fund.segment)
        return (fund.postpaid, written.get("priority", 100), paid, *place)

    def _pay(self, charges: list[Charge]) -> list[Charge]:
        done: list[Charge] = []
        for charge in sorted(charges, key=self._paid_order):
            rest: Charge | None = charge
            open_now = [fund for fund in self.funds if self._may_pay(fund, charge)]
            for fund in open_now:
                if rest is None or rest.net <= 0 or fund.left <= 0:
                    continue
                covered, rest = self._cover(rest, fund)
                if covered.net >= 0:
                    fund.left -= covered.net
                    covered.drawn = NOTHING if fund.postpaid else covered.net
                done.append(covered)
            if rest is not None:
                past = [fund for fund in open_now if "overage_multiplier" in fund.written and fund.left <= 0]
                if past and rest.price is not None and rest.net > 0:
                    rest = self._repriced(rest, times(rest.price, number(past[0].written["overage_multiplier"])))
                done.append(rest)
        return done

    @staticmethod
    def _may_pay(fund: Fund, charge: Charge) -> bool:
        scope = fund.written.get("scope", {})
        return charge.net > 0 and holds(fund.window, charge.at) and about(scope, charge.product, charge.group)

    @staticmethod
    def _paid_order(charge: Charge) -> tuple[object, ...]:
        group = str(sorted(charge.group.items()))
        return (PAID_FIRST.index(charge.kind), charge.at, -unit_price(charge), charge.product["key"], group)

    def _cover(self, charge: Charge, fund: Fund) -> tuple[Charge, Charge | None]:
        price = charge.price and self.price(charge.product, charge.group, charge.at, fund.written)
        same = price is None or price == charge.price
        offered = charge if same or price is None else self._repriced(charge, price)
        if offered.net <= fund.left:
            return offered, None
        return self._split(charge, offered, fund.left, same)

    def _split(self, charge: Charge, offered: Charge, left: Fraction, same: bool) -> tuple[Charge, Charge]:
        gross = offered.amount * left / offered.net
        spent = half_up(gross, self.deal.places)
        if same:
            gross = spent
        whole = offered.price is not None and offered.share == 1 and offered.units > 0
        units = bought(offered.price or {}, gross, offered.prior or NOTHING, offered.units) if whole else None
        if units is None:
            paid = offered.share * gross / offered.amount
            rest = replace(charge, share=charge.share - charge.share * gross / offered.amount)
            covered = replace(offered, share=paid)
        else:
            covered = replace(offered, units=units)
            rest = replace(charge, prior=(charge.prior or NOTHING) + units, units=charge.units - units)
        covered.amount, covered.off = spent, left - spent
        if same:
            rest.exact, rest.amount, rest.off = charge.exact - spent, charge.amount - spent, charge.off - covered.off
        else:
            rest.exact = charge.exact * rest.share / charge.share if units is None else self._exact(rest, charge)
            rest.amount = half_up(rest.exact, self.deal.places)
            rest.off = self._in_proportion(charge, rest.amount)
        return covered, rest

    @staticmethod
    def _exact(rest: Charge, charge: Charge) -> Fraction:
        return rest.cost(charge.price or {}, rest.prior, rest.units)

    def _repriced(self, charge: Charge, price: Written) -> Charge:
        new = replace(charge, price=price)
        new.exact = new.cost(price, new.prior, new.units) * new.share
        new.amount = half_up(new.exact, self.deal.places)
        new.off = self._in_proportion(charge, new.amount)
        return new

    def _in_proportion(self, charge: Charge, amount: Fraction) -> Fraction:
        """What is off a charge when it comes to another amount."""
        if not charge.off or not charge.amount:
            return charge.off
        return half_up(charge.off * amount / charge.amount, self.deal.places)

    def _true_ups(self) -> Fraction:
        due = NOTHING
        for fund in self.funds:
            ends = instant(fund.window.get("ending_before"), FAR)
            if fund.postpaid and self.deal.start < ends <= self.deal.end:
                due += max(fund.left, NOTHING)
        return due
