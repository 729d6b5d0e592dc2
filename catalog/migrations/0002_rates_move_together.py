import django.contrib.postgres.constraints
import django.db.models.constraints
from django.db import migrations

import catalog.models


class Migration(migrations.Migration):
    """Two rates of a card can move in one transaction: the old one ends later, the new one starts later."""

    dependencies = [("catalog", "0001_initial")]

    operations = [
        migrations.RemoveConstraint(model_name="rate", name="rates_do_not_overlap"),
        migrations.AddConstraint(
            model_name="rate",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                deferrable=django.db.models.constraints.Deferrable["IMMEDIATE"],
                expressions=[
                    ("rate_card", "="),
                    ("product", "="),
                    ("where_key", "="),
                    (catalog.models.TimestampRange("starting_at", "ending_before"), "&&"),
                ],
                name="rates_do_not_overlap",
                violation_error_message="Overlaps another rate of this product and these group values.",
            ),
        ),
    ]
