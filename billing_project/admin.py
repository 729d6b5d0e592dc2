"""The admin's common bases, and the pages for users, roles and API keys."""

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.checks import ModelAdminChecks
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.db.models import DateTimeField, Field, Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from psycopg.errors import ExclusionViolation, UniqueViolation
from unfold.decorators import action as unfold_action
from unfold.forms import AdminPasswordChangeForm, BaseDialogForm, UserChangeForm, UserCreationForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing_project.decimals import plain
from billing_project.errors import RuleError
from billing_project.fields import ExactField, PlainDecimalInput
from billing_project.forms import CommaSeparatedField, InstantField
from billing_project.history import changes_of
from billing_project.models import ApiKey, Scope

if TYPE_CHECKING:  # unfold has no types; its classes add looks to Django's
    from django.contrib.admin import ModelAdmin as UnfoldModelAdmin
    from django.contrib.admin import StackedInline as UnfoldStackedInline
    from django.contrib.admin import TabularInline as UnfoldTabularInline
else:
    from unfold.admin import ModelAdmin as UnfoldModelAdmin
    from unfold.admin import StackedInline as UnfoldStackedInline
    from unfold.admin import TabularInline as UnfoldTabularInline

M = TypeVar("M", bound=Model)
P = TypeVar("P", bound=Model)
__all__ = [
    "AppendOnlyAdmin",
    "ModelAdmin",
    "ReadOnlyAdmin",
    "ReadOnlyInline",
    "StackedInline",
    "TabularInline",
    "button",
    "plain",
]


class PlainDecimalWidget(PlainDecimalInput, UnfoldAdminTextInputWidget):  # type: ignore[misc]
    """The skin's text input; a number input would round a price of 0.00000005."""


FORM_FIELDS: dict[type[Field[Any, Any]], dict[str, Any]] = {
    ExactField: {"widget": PlainDecimalWidget},
    ArrayField: {"form_class": CommaSeparatedField, "widget": UnfoldAdminTextInputWidget},
    DateTimeField: {"form_class": InstantField, "widget": UnfoldAdminSplitDateTimeWidget},
}


RACES = (ExclusionViolation, UniqueViolation)
OVERTAKEN = "Somebody saved what contradicts this a moment ago. Nothing you typed is lost: look at it, and save again."
REFUSED = "refused"  # on a request: why its form is not saved, whatever is in it


def refusing(form: type[forms.BaseForm], refusal: str) -> type[forms.BaseForm]:
    """The same form, which finds itself wrong for a reason of others."""

    class Refusing(form):  # type: ignore[misc, valid-type]
        def full_clean(self) -> None:
            super().full_clean()
            if self.is_bound:
                self.add_error(None, refusal)

    return Refusing


class ModelAdmin(UnfoldModelAdmin[M]):
    """An editable list. Its history is the database's own record: who changed what, from where."""

    # Unfold's looks permissions up in the database, in every command: `migrate` would need its own result.
    checks_class = ModelAdminChecks
    formfield_overrides = FORM_FIELDS
    warn_unsaved_form = True
    list_filter_submit = True

    def get_ordering(self, request: HttpRequest) -> Any:
        # A model's own ordering is lost in a list that counts something along.
        return super().get_ordering(request) or self.opts.ordering

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Two people who save what contradicts at once both pass the form: the second is told by the database.

        Looked at again, the form sees what the first one saved and says so at its field. Whoever is overtaken again,
        or refused by a rule while saving, gets the form back with all that was typed in it.
        """
        refusal = ""
        for _ in range(2):
            try:
                return super().changeform_view(request, object_id, form_url, extra_context)
            except IntegrityError as error:
                if not isinstance(error.__cause__, RACES):
                    raise
                refusal = OVERTAKEN
            except RuleError as error:
                if request.method != "POST":
                    raise
                refusal = error.message
                break
        request.__dict__[REFUSED] = refusal
        return super().changeform_view(request, object_id, form_url, extra_context)

    def get_form(self, request: HttpRequest, obj: M | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        refusal = request.__dict__.get(REFUSED)
        return form if refusal is None else refusing(form, refusal)

    def changes_in_words(self, obj: M, name: str, old: Any, new: Any) -> Iterable[tuple[str, str, str]] | None:
        """What differs within one field: where, before, after. None: the values are shown as they are."""
        return None

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not hasattr(self.model, "pgh_event_models"):
            return super().history_view(request, object_id, extra_context)
        found = self.get_object(request, object_id)
        if found is None:
            return super().history_view(request, object_id, extra_context)
        if not self.has_view_or_change_permission(request, found):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {found}",
            "changes": changes_of(found, partial(self.changes_in_words, found)),
            "object": found,
            "opts": self.opts,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/changes.html", context)


class AppendOnlyAdmin(ModelAdmin[M]):
    """Rows are added and never touched again."""

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


class ReadOnlyAdmin(AppendOnlyAdmin[M]):
    """What the system writes and people read."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


class TabularInline(UnfoldTabularInline[M, P]):
    formfield_overrides = FORM_FIELDS
    extra = 0


class StackedInline(UnfoldStackedInline[M, P]):
    formfield_overrides = FORM_FIELDS
    extra = 0


class ReadOnlyInline(TabularInline[M, P]):
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: P | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: P | None = None) -> bool:
        return False


Verb = Callable[..., str]


class NoteForm(BaseDialogForm):  # type: ignore[misc]
    """What is asked along with a step: why."""

    note = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


def button(
    label: str,
    *,
    permission: str,
    confirm: str,
    icon: str | None = None,
    variant: Any = None,
    note: bool = False,
) -> Callable[[Verb], Callable[..., HttpResponse]]:
    """A detail or row action: asks first, then posts and calls one verb, which returns the sentence to show. With
    `note` it asks for one too and hands it on.

    Refusals of a rule become an error message. Unfold's plain actions run on GET, where a link could trigger them.
    """

    def decorate(verb: Verb) -> Callable[..., HttpResponse]:
        @wraps(verb)
        def posted(self: Any, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
            try:
                told = [form.cleaned_data.get("note", "")] if note else []
                messages.success(request, verb(self, request, object_id, *told))
            except RuleError as refusal:
                messages.error(request, refusal.message)
            except ValidationError as refusal:
                messages.error(request, " ".join(refusal.messages))
            return HttpResponse(headers={"HX-Redirect": request.headers.get("HX-Current-URL", "..")})

        dialog: dict[str, Any] = {"title": label, "description": confirm, "form_submit_text": label}
        if note:
            dialog["form_class"] = NoteForm
        wrapped: Callable[..., HttpResponse] = unfold_action(
            description=label, permissions=[permission], dialog=dialog, icon=icon, variant=variant
        )(posted)
        return wrapped

    return decorate


for model in list(admin.site._registry):
    if model._meta.app_label == "djstripe":  # its own pages would write to Stripe: `invoicing` has others, to read
        admin.site.unregister(model)
admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], ModelAdmin[User]):  # type: ignore[misc]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin[Group]):
    pass


class ApiKeyForm(forms.ModelForm[ApiKey]):
    scopes = forms.MultipleChoiceField(choices=Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget)

    class Meta:
        model = ApiKey
        fields = ["name", "scopes"]


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin[ApiKey]):
    form = ApiKeyForm
    list_display = ["name", "prefix", "shown_scopes", "created_by", "created_at", "last_used_at", "revoked_at"]
    search_fields = ["name", "prefix"]
    readonly_fields = ["prefix", "created_by", "created_at", "last_used_at", "revoked_at"]
    actions_detail = ["revoke"]
    actions_row = ["revoke"]

    @admin.display(description="Scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # a revoked key keeps telling who had access

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm[ApiKey], change: bool) -> None:
        if not change:
            obj.created_by = cast("User", request.user)
            secret = obj.draw_secret()
            text = "Copy the key now; it is not shown again: <code>{}</code>"
            messages.warning(request, format_html(text, secret))
        super().save_model(request, obj, form, change)

    @button(
        "Revoke",
        permission="change",
        confirm="Programs that use this key are refused within 30 seconds. This cannot be undone.",
        icon="block",
    )
    def revoke(self, request: HttpRequest, object_id: str) -> str:
        key = ApiKey.objects.get(pk=object_id)
        return f"{key} is revoked." if key.revoke() else f"{key} was revoked before."
