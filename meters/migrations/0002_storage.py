"""The tables of events and buckets, laid out by hand: partitions, column order, few indexes, fill factors."""

import django.db.models.deletion
from django.db import migrations, models

import billing_project.fields

EVENTS = """
CREATE SEQUENCE meters_event_seq AS bigint;

CREATE TABLE meters_event (
    time timestamptz NOT NULL,
    seq bigint NOT NULL DEFAULT nextval('meters_event_seq'),
    -- When it came, in transactions: what the roller reads by. xid8 has no BRIN and few operators, bigint has.
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    key uuid NOT NULL,
    subject_id integer NOT NULL,
    event_type_id integer NOT NULL,
    properties jsonb NOT NULL
) PARTITION BY RANGE (time);
ALTER SEQUENCE meters_event_seq OWNED BY meters_event.seq;

-- Time first: new rows meet at the right edge of the index, whatever its size. A random key first decays with growth.
CREATE UNIQUE INDEX meters_event_time_key ON meters_event (time, key);
CREATE INDEX meters_event_xid ON meters_event (xid);

-- Not a DEFAULT partition: that one would be locked and scanned whenever a month is attached.
CREATE TABLE meters_event_before_2015 PARTITION OF meters_event FOR VALUES FROM (MINVALUE) TO ('2015-01-01 00:00:00+00');
"""

KEYS = """
CREATE TABLE meters_eventkey (
    time timestamptz NOT NULL,
    key uuid NOT NULL CONSTRAINT meters_eventkey_pkey PRIMARY KEY,
    seen_on date NOT NULL
);
CREATE INDEX meters_eventkey_seen_on ON meters_eventkey USING brin (seen_on);
"""

BUCKETS = """
CREATE TABLE meters_{size}bucket (
    starting_at timestamptz NOT NULL,
    events bigint NOT NULL,
    last_time timestamptz,
    meter_id integer NOT NULL,
    subject_id integer NOT NULL,
    group_id integer NOT NULL,
    last_key uuid,
    total numeric,
    smallest numeric,
    largest numeric,
    last_value numeric,
    CONSTRAINT meters_{size}bucket_pkey PRIMARY KEY (meter_id, subject_id, starting_at, group_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("meters", "0001_initial"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(EVENTS, "DROP TABLE meters_event"),
                migrations.RunSQL(KEYS, "DROP TABLE meters_eventkey"),
                migrations.RunSQL(BUCKETS.format(size="hour"), "DROP TABLE meters_hourbucket"),
                migrations.RunSQL(BUCKETS.format(size="day"), "DROP TABLE meters_daybucket"),
            ],
            state_operations=[
                migrations.CreateModel(
                    name="DayBucket",
                    fields=[
                        ("meter_id", models.IntegerField()),
                        ("subject_id", models.IntegerField()),
                        ("group_id", models.IntegerField()),
                        ("events", models.BigIntegerField()),
                        ("total", billing_project.fields.ExactField(null=True)),
                        ("smallest", billing_project.fields.ExactField(null=True)),
                        ("largest", billing_project.fields.ExactField(null=True)),
                        ("last_value", billing_project.fields.ExactField(null=True)),
                        ("last_time", models.DateTimeField(null=True)),
                        ("last_key", models.UUIDField(null=True)),
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "meter_id",
                                "subject_id",
                                "starting_at",
                                "group_id",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("starting_at", models.DateTimeField()),
                    ],
                    options={
                        "db_table": "meters_daybucket",
                    },
                ),
                migrations.CreateModel(
                    name="EventKey",
                    fields=[
                        ("key", models.UUIDField(primary_key=True, serialize=False)),
                        ("time", models.DateTimeField()),
                        ("seen_on", models.DateField()),
                    ],
                    options={
                        "db_table": "meters_eventkey",
                    },
                ),
                migrations.CreateModel(
                    name="HourBucket",
                    fields=[
                        ("meter_id", models.IntegerField()),
                        ("subject_id", models.IntegerField()),
                        ("group_id", models.IntegerField()),
                        ("events", models.BigIntegerField()),
                        ("total", billing_project.fields.ExactField(null=True)),
                        ("smallest", billing_project.fields.ExactField(null=True)),
                        ("largest", billing_project.fields.ExactField(null=True)),
                        ("last_value", billing_project.fields.ExactField(null=True)),
                        ("last_time", models.DateTimeField(null=True)),
                        ("last_key", models.UUIDField(null=True)),
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "meter_id",
                                "subject_id",
                                "starting_at",
                                "group_id",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("starting_at", models.DateTimeField()),
                    ],
                    options={
                        "db_table": "meters_hourbucket",
                    },
                ),
                migrations.CreateModel(
                    name="Event",
                    fields=[
                        ("time", models.DateTimeField()),
                        ("seq", models.BigIntegerField()),
                        ("xid", models.BigIntegerField()),
                        ("key", models.UUIDField(primary_key=True, serialize=False)),
                        ("properties", models.JSONField()),
                        (
                            "event_type",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="meters.eventtype",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "meters_event",
                        "ordering": ["-time", "-key"],
                    },
                ),
                migrations.AddField(
                    model_name="event",
                    name="subject",
                    field=models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="meters.subject",
                    ),
                ),
            ],
        ),
    ]
