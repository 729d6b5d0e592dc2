from django.urls import path

from contracts.api.usage import UsageView

urlpatterns = [
    path("usage", UsageView.as_view(), name="usage"),
]
