"""All URLs: the admin, the API and its documentation, the health check."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from billing_project.health import healthz
from invoicing.stripe_webhook import stripe_webhook

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("meters.api.urls")),
    path("api/v1/", include("contracts.api.urls")),
    path("api/v1/", include("invoicing.api.urls")),
    path("api/v1/", include("invoicing.api.document_urls")),
    path("stripe/webhook/", stripe_webhook, name="stripe_webhook"),
    path("", include("meters.api.vendor_urls")),
]

handler404 = "billing_project.api.not_found"
handler500 = "billing_project.api.server_error"
