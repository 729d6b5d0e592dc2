"""Alert rules and alerts, webhook endpoints, and what was delivered to whom."""

from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from billing_project.admin import ModelAdmin, ReadOnlyAdmin, button, plain
from catalog.price_text import amount_text, exact_text
from contracts.period_text import minute_text
from invoicing.delivering import OLD_SECRET_LASTS, replay
from invoicing.journal import books_zone
from invoicing.models import Alert, AlertRule, Delivery, OutgoingEvent, WebhookEndpoint
from invoicing.models.alerts import AlertKind
from invoicing.models.outbox import EventType, new_secret

UNITS = {
    AlertKind.THRESHOLD: "%",
    AlertKind.COMMIT: "%",
    AlertKind.ENTITLEMENT: "%",
    AlertKind.DAYS_LEFT: " days",
    AlertKind.OVERDUE: " days",
    AlertKind.USAGE: "",
}


def limit_text(rule: AlertRule) -> str:
    if rule.kind in UNITS:
        return f"{exact_text(rule.limit)}{UNITS[AlertKind(rule.kind)]}"
    return amount_text(rule.limit, rule.currency) if rule.currency else plain(rule.limit)


@admin.register(AlertRule)
class AlertRuleAdmin(ModelAdmin[AlertRule]):
    list_display = ["name", "kind", "shown_limit", "whose", "standing", "active"]
    list_filter = [("kind", ChoicesDropdownFilter), "active"]
    list_select_related = ["customer"]
    search_fields = ["name", "customer__name"]
    autocomplete_fields = ["customer"]
    fields = ["name", "kind", "limit", "customer", "currency", "feature", "emails", "active"]

    @admin.display(description="Limit")
    def shown_limit(self, rule: AlertRule) -> str:
        return limit_text(rule)

    @admin.display(description="Customer")
    def whose(self, rule: AlertRule) -> str:
        return str(rule.customer) if rule.customer else "all"

    @admin.display(description="Standing now")
    def standing(self, rule: AlertRule) -> str:
        count = rule.alerts.filter(recovered_at=None).count()
        url = reverse("admin:invoicing_alert_changelist")
        return format_html('<a class="text-link" href="{}?rule__id__exact={}">{}</a>', url, rule.pk, count)


class StandingFilter(admin.SimpleListFilter):
    title = "standing"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Standing"), ("no", "Recovered")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(recovered_at__isnull=self.value() == "yes") if self.value() else queryset


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin[Alert]):
    list_display = ["reason", "rule", "of_contract", "since", "state"]
    list_display_links = None
    list_filter = [StandingFilter, "rule"]
    list_select_related = ["rule", "contract__customer"]
    search_fields = ["reason", "contract__key", "contract__customer__name"]

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["invoicing/invoice.css"]}

    @admin.display(description="Contract", ordering="contract__key")
    def of_contract(self, alert: Alert) -> str:
        url = reverse("admin:contracts_contract_change", args=[alert.contract_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, alert.contract)

    @admin.display(description="Since", ordering="triggered_at")
    def since(self, alert: Alert) -> SafeString:
        return format_html('<span class="ch-nowrap">{}</span>', minute_text(alert.triggered_at, books_zone()))

    @display(description="State", label={"Standing": "warning", "Recovered": "success"})  # type: ignore[untyped-decorator]
    def state(self, alert: Alert) -> str:
        return "Recovered" if alert.recovered_at else "Standing"


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ModelAdmin[WebhookEndpoint]):
    list_display = ["__str__", "url", "wanted", "active", "waiting"]
    list_filter = ["active"]
    fields = ["url", "description", "event_types", "active", "known_types"]
    readonly_fields = ["known_types"]
    actions_detail = ["new_signing_secret"]

    @admin.display(description="Events")
    def wanted(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.event_types) or "all"

    @admin.display(description="To be delivered")
    def waiting(self, endpoint: WebhookEndpoint) -> int:
        return endpoint.deliveries.filter(state=Delivery.State.WAITING).count()

    @admin.display(description="There are")
    def known_types(self, endpoint: WebhookEndpoint) -> SafeString:
        return format_html_join("", "<div><code>{}</code> {}</div>", EventType.choices)

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            text = "Copy the signing secret now; it is not shown again: <code>{}</code>"
            messages.warning(request, format_html(text, obj.secret))

    @button(
        "New signing secret",
        permission="change",
        confirm="For a day both secrets sign, so that the receiver can change over.",
        icon="key",
    )
    def new_signing_secret(self, request: HttpRequest, object_id: str) -> str:
        endpoint = WebhookEndpoint.objects.get(pk=object_id)
        endpoint.old_secret, endpoint.old_secret_until = endpoint.secret, timezone.now() + OLD_SECRET_LASTS
        endpoint.secret = new_secret()
        endpoint.save(update_fields=["secret", "old_secret", "old_secret_until"])
        return f"Copy the new signing secret now; it is not shown again: {endpoint.secret}"


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin[Delivery]):
    list_display = ["what", "receiver", "created_at", "state_label", "attempts", "answer", "next_attempt_at"]
    list_filter = [("state", ChoicesDropdownFilter), "endpoint"]
    list_select_related = ["event", "endpoint"]
    search_fields = ["event__cause", "event__type", "subject", "to"]
    fields = ["what", "receiver", "state", "body", "tries"]
    readonly_fields = ["what", "receiver", "body", "tries"]
    actions_detail = ["send_again"]
    actions_row = ["send_again"]

    @admin.display(description="What", ordering="event__type")
    def what(self, row: Delivery) -> str:
        return str(row.event or row.subject)

    @admin.display(description="To")
    def receiver(self, row: Delivery) -> str:
        return str(row.endpoint) if row.endpoint else ", ".join(row.to)

    @display(  # type: ignore[untyped-decorator]
        description="State",
        ordering="state",
        label={"Delivered": "success", "Waiting": "info", "Given up": "danger"},
    )
    def state_label(self, row: Delivery) -> str:
        return row.get_state_display()

    @admin.display(description="Last answer")
    def answer(self, row: Delivery) -> str:
        return " ".join(str(each) for each in (row.last_status, row.last_error[:120]) if each) or "–"

    @admin.display(description="Body")
    def body(self, row: Delivery) -> SafeString:
        text = row.event.body if row.event else row.text
        return format_html('<pre style="white-space:pre-wrap">{}</pre>', text)

    @admin.display(description="Tries")
    def tries(self, row: Delivery) -> str:
        lines = [
            (f"{each.at:%Y-%m-%d %H:%M:%S}", each.status or "", each.error, each.milliseconds)
            for each in row.tries.all()
        ]
        return format_html_join("", "<div>{} {} {} ({} ms)</div>", lines) or "none yet"

    def has_send_again_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("invoicing.replay_delivery")

    @button(
        "Send again",
        permission="send_again",
        confirm="It is sent again with the same id and body; receivers that know it leave it out.",
        icon="replay",
    )
    def send_again(self, request: HttpRequest, object_id: str) -> str:
        row = replay(int(object_id), cast("User", request.user))
        return f"{row}: it is sent within seconds, while a worker runs."


@admin.register(OutgoingEvent)
class OutgoingEventAdmin(ReadOnlyAdmin[OutgoingEvent]):
    list_display = ["type", "cause", "at"]
    list_filter = [("type", ChoicesDropdownFilter)]
    search_fields = ["cause"]
    fields = ["type", "cause", "at", "body"]
