"""Everything but events and usage. A key may hold slashes: what comes after it stands first."""

from django.urls import path

from invoicing.api import catalog, contracts, customers, focus, invoices, live, preview

urlpatterns = [
    path("products", catalog.ProductsView.as_view(), name="products"),
    path("products/<path:key>", catalog.ProductView.as_view(), name="product"),
    path("rate_cards", catalog.RateCardsView.as_view(), name="rate-cards"),
    path("rate_cards/<path:key>/rates", catalog.RatesView.as_view(), name="rates"),
    path("rate_cards/<path:key>", catalog.RateCardView.as_view(), name="rate-card"),
    path("customers", customers.CustomersView.as_view(), name="customers"),
    path("customers/<path:key>/aliases", customers.AliasesView.as_view(), name="aliases"),
    path("customers/<path:key>/credits", contracts.CustomerCreditsView.as_view(), name="customer-credits"),
    path("customers/<path:key>/spend", live.CustomerSpendView.as_view(), name="spend"),
    path("customers/<path:key>/balances", live.CustomerBalancesView.as_view(), name="balances"),
    path("customers/<path:key>/focus", focus.FocusView.as_view(), name="customer-focus"),
    path("customers/<path:key>/invoices", invoices.CustomerInvoicesView.as_view(), name="customer-invoices"),
    path("customers/<path:key>/entitlements", live.EntitlementsView.as_view(), name="entitlements"),
    path("customers/<path:key>/entitlements/<path:feature>", live.EntitlementView.as_view(), name="entitlement"),
    path("customers/<path:key>", customers.CustomerView.as_view(), name="customer"),
    path("contracts", contracts.ContractsView.as_view(), name="contracts"),
    path(
        "contracts/<path:key>/subscriptions/<path:subscription>/quantity",
        contracts.QuantityView.as_view(),
        name="quantity",
    ),
    path("contracts/<path:key>/amend", contracts.AmendView.as_view(), name="amend"),
    path("contracts/<path:key>/renew", contracts.RenewView.as_view(), name="renew"),
    path("contracts/<path:key>/end", contracts.EndView.as_view(), name="end"),
    path("contracts/<path:key>/credits", contracts.ContractCreditsView.as_view(), name="contract-credits"),
    path("contracts/<path:key>/spend", live.ContractSpendView.as_view(), name="contract-spend"),
    path("contracts/<path:key>/balances", live.ContractBalancesView.as_view(), name="contract-balances"),
    path("contracts/<path:key>", contracts.ContractView.as_view(), name="contract"),
    path("preview", preview.PreviewView.as_view(), name="preview"),
    path("templates", contracts.TemplatesView.as_view(), name="templates"),
    path("invoices", invoices.InvoicesView.as_view(), name="invoices"),
    path("invoices/<int:number>", invoices.InvoiceView.as_view(), name="invoice"),
]
