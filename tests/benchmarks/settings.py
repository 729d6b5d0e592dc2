"""The demo's settings, with the naive endpoint that ingestion is compared to beside the product's own URLs."""

from billing_project.settings import *  # noqa: F403

ROOT_URLCONF = "tests.benchmarks.urls"
