"""The product's URLs and the naive endpoint."""

from django.urls import path

from billing_project.urls import urlpatterns as product
from tests.benchmarks.naive import NaiveEventsView

urlpatterns = [*product, path("naive/events", NaiveEventsView.as_view())]
