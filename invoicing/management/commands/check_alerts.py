"""`manage.py check_alerts`: begin and end alerts."""

from invoicing.alerts import EVERYONE, check_alerts
from invoicing.management.reaction import ReactionCommand
from invoicing.reacting import Verb


class Command(ReactionCommand):
    help = (
        "Compare the contracts whose usage changed since the last look with the alert rules; --all looks at every "
        "contract, for what time alone changes. Safe to repeat, to kill, and to run on several machines at once."
    )
    reader = "alerts"
    only = EVERYONE

    def verb(self) -> Verb:
        return check_alerts
