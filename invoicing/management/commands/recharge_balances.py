"""`manage.py recharge_balances`: fill up prepaid balances that have fallen to their threshold."""

from invoicing.management.reaction import ReactionCommand
from invoicing.reacting import Verb
from invoicing.recharges import HAVING_ONE, recharge_and_release


class Command(ReactionCommand):
    help = (
        "Invoice a recharge for each contract whose prepaid balance has fallen to its threshold, and make recharges "
        "usable that were paid for. Looks at the customers whose usage changed since the last look. Safe to repeat, "
        "to kill, and to run on several machines at once."
    )
    reader = "recharges"
    only = HAVING_ONE

    def verb(self) -> Verb:
        return recharge_and_release
