"""`manage.py bill_thresholds`: issue invoices where unbilled usage has reached a spend threshold."""

from invoicing.management.reaction import ReactionCommand
from invoicing.reacting import Verb
from invoicing.spend_thresholds import HAVING_ONE, bill_now


class Command(ReactionCommand):
    help = (
        "Issue a threshold invoice for each contract whose unbilled usage has reached its spend threshold. Looks at "
        "the customers whose usage changed since the last look. Safe to repeat, to kill, and to run on several "
        "machines at once."
    )
    reader = "spend thresholds"
    only = HAVING_ONE

    def verb(self) -> Verb:
        return bill_now
