"""Golden cases that our rules answer differently, each with the rule that says so.

A case stands here only if its source decided against us on policy. Everything else in the files runs.
"""

LEFT_OUT: dict[str, str] = {}


def _because(rule: str, *ids: str) -> None:
    LEFT_OUT.update(dict.fromkeys(ids, rule))


_because(
    "Zero usage with a flat fee in the first tier is charged that fee (Stripe and Lago, not OpenMeter's slices).",
    "om-graduated-002",
)
_because(
    "A total below zero is charged as zero; it is no error.",
    "polar-graduated-015",
)
_because(
    "Amounts are rounded half-up at the line, not to half-even at the invoice.",
    "silver-discount-002",
)
_because(
    "A minimum is the least for a whole billing period and is not prorated by days.",
    "lago-trueup-004",
)
_because(
    "Commitments are amounts of money for a window of time: there are none per hour or time of day.",
    "flex-commitmentperwindow-003",
    "flex-commitmentperwindow-004",
    "flex-commitmentperwindow-005",
)
_because(
    "A price depends on one quantity: there is no model whose tier depends on several peaks at once.",
    "kb-capacity-001",
    "kb-capacity-002",
    "kb-capacity-003",
)
_because(
    "A free trial is a zero overwrite for whole periods.",
    "lago-subfee-007",
)
_because(
    "A fee for part of a period is prorated by seconds; events are not prorated one by one.",
    "lago-graduatedprorated-002",
    "lago-graduatedprorated-003",
    "lago-graduatedprorated-004",
    "lago-graduatedprorated-011",
    "lago-graduatedprorated-012",
)
_because(
    "Every month has its own length: there is no month of a fixed number of days.",
    "kb-fixed30-003",
    "kb-fixed30-005",
    "kb-fixed30-010",
)
_because(
    "Credits are amounts of money that pay usage of their slice: overage is billed, a later credit never pays it back.",
    "om-grants-006",
    "om-grants-010",
)
_because(
    "Of equal priority the balance with the fewest products in scope is used first, not the oldest.",
    "lago-wallets-001",
    "lago-wallets-003",
)
_because(
    "A contract has one currency: there is no balance in another.",
    "lago-wallets-010",
)
_because(
    "Credits pay net amounts before tax.",
    "lago-wallets-005",
    "lago-wallets-007",
    "lago-wallets-008",
)
_because(
    "A discount is by scope and dates of the slices it covers, not a fraction of one fee.",
    "silver-discount-004",
    "silver-discount-005",
)
_because(
    "Free units belong to prices per unit and per package; a volume price has a tier of zero instead.",
    "om-delta-038",
)
_because(
    "A period is never empty: an empty one is refused where it is made.",
    "om-prorate-004",
    "om-prorate-005",
)
_because(
    "Proration counts seconds between instants, never days.",
    "flex-calendardays-001",
    "flex-calendardays-002",
    "flex-calendardays-004",
    "flex-calendardays-008",
)
_because(
    "Nothing is paid back by a change of plan: a decrease waits for the next period or is credited on its invoice.",
    "flex-creditcap-001",
    "flex-creditcap-004",
    "flex-creditcap-008",
)
_because(
    "Zero cost basis comes before paid, and before the earlier end.",
    "stripe_credit_grants_application_order",
)
_because(
    "A rate is that of the slice in which usage happened; nothing is forgotten when a price changes, and nothing is "
    "priced at the rate of the period's end.",
    "stripe_metered_price_change_mid_period_classic",
    "metronome_sql_metric_service_period_rate_change",
)
_because(
    "Averages and values per hour are priced as one quantity: there is no metric of hourly rows.",
    "metronome_sql_metric_hour_granularity",
)
_because(
    "Proration is exact by seconds and rounded once to the minor unit, not to whole dollars.",
    "metronome_proration_rounding_whole_dollars",
)
_because(
    "A decrease is credited at the price of its own period; credits do not remember which change was not charged.",
    "stripe_proration_downgrade_after_unbilled_upgrade_flexible",
)
_because(
    "A discount is on the charges of a period; it is not prorated with a removed item.",
    "stripe_proration_cancel_item_with_coupon_classic",
)
_because(
    "Fees due at an instant stand on a scheduled invoice of their own, not on the usage invoice.",
    "metronome_consolidated_scheduled_charge",
)
_because(
    "An invoice waits for its grace period and for approval, not for hours after a contract was written.",
    "metronome_scheduled_invoice_finalisation_delay",
)
_because(
    "Revenue follows what was billed, by product: a price for a bundle is not shared out by what its parts cost alone.",
    "asc606_ssp_allocation_bundle",
)
_because(
    "Leftovers of a commit are revenue when they expire; they are not estimated before.",
    "asc606_breakage_estimate",
)
_because("Throughput is measured by benchmarks.", "stripe_s3_import_throughput")
_because(
    "A month that starts on a clamped 31st is as long as it is: 31 January to 28 February has 28 days, not 31.",
    "kb-cycles-017",
)
_because("The first event of an identity counts, not the last one sent.", "lago-agg-009")
_because("A unique count counts the values seen in a period: no event takes one back.", "lago-agg-010")
_because(
    "Events are not prorated one by one by the days that are left; a time-weighted level is, by seconds.",
    "lago-agg-011",
    "lago-prounique-005",
    "lago-prounique-007",
    "lago-prounique-010",
)
