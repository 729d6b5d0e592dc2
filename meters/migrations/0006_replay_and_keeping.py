from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("meters", "0005_first_times"),
    ]

    operations = [
        migrations.CreateModel(
            name="EventArchive",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateTimeField(unique=True)),
                ("place", models.TextField(help_text="The folder, or s3://bucket/prefix.")),
                ("file", models.CharField(max_length=100)),
                ("size", models.BigIntegerField(verbose_name="bytes")),
                ("events", models.BigIntegerField()),
                ("by_type", models.JSONField(help_text="Number of events, and the exact sum of every numeric property, as text.", verbose_name="by event type")),
                ("digest", models.TextField(help_text="Of all rows, whatever their order.")),
                ("exported_at", models.DateTimeField()),
                ("verified_at", models.DateTimeField(blank=True, null=True)),
                ("dropped_at", models.DateTimeField(blank=True, null=True)),
                ("restored_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "archived month",
                "ordering": ["-month"],
            },
        ),
        migrations.CreateModel(
            name="RollerMinute",
            fields=[
                ("minute", models.DateTimeField(primary_key=True, serialize=False)),
                ("events", models.BigIntegerField(default=0)),
                ("seen_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="rejectedevent",
            name="corrected",
            field=models.TextField(blank=True, db_default="", help_text="What is replayed instead of what was sent. Empty: as it was sent.", verbose_name="corrected event"),
        ),
        migrations.AddField(
            model_name="rejectedevent",
            name="replayed_at",
            field=models.DateTimeField(blank=True, db_index=True, null=True),
        ),
        migrations.AddField(
            model_name="rejectedevent",
            name="replayed_by",
            field=models.CharField(blank=True, db_default="", max_length=150),
        ),
        migrations.AddField(
            model_name="rejectedevent",
            name="tried_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="last replay"),
        ),
        migrations.AddIndex(
            model_name="rejectedevent",
            index=models.Index(fields=["event_id"], name="rejected_event_id"),
        ),
    ]
