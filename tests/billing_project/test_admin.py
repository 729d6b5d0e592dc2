"""The admin's bases and the pages of API keys, as people meet them."""

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse

from billing_project import admin as bases
from billing_project.errors import RuleError
from billing_project.models import ApiKey, digest
from billing_project.navigation import sidebar

pytestmark = pytest.mark.django_db
ADD = "admin:billing_project_apikey_add"
LIST = "admin:billing_project_apikey_changelist"


@pytest.fixture
def root(client: Client) -> User:
    user = User.objects.create_superuser("root")
    client.force_login(user)
    return user


def request_of(user: User) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


def revoke_url(key: ApiKey) -> str:
    return reverse("admin:billing_project_apikey_revoke", args=[key.pk])


def test_a_new_keys_secret_is_shown_once(client: Client, root: User) -> None:
    form = {"name": "meter", "scopes": ["ingest", "read"]}
    page = client.post(reverse(ADD), form, follow=True).content.decode()
    secret = re.search(r"ch_[0-9a-f]{8}_[\w-]+", page)
    assert secret
    key = ApiKey.objects.get()
    assert key.digest == digest(secret[0])
    assert key.scopes == ["ingest", "read"]
    assert key.created_by == root
    for url in (reverse(LIST), reverse("admin:billing_project_apikey_change", args=[key.pk])):
        again = client.get(url).content.decode()
        assert secret[0] not in again
        assert key.prefix in again


def test_a_changed_key_keeps_its_secret(client: Client, root: User) -> None:
    key, secret = ApiKey.issue("meter", ["ingest"])
    url = reverse("admin:billing_project_apikey_change", args=[key.pk])
    client.post(url, {"name": "gateway", "scopes": ["ingest"]})
    key.refresh_from_db()
    assert (key.name, key.digest) == ("gateway", digest(secret))


def test_a_key_without_a_scope_is_an_error_at_the_field(client: Client, root: User) -> None:
    page = client.post(reverse(ADD), {"name": "meter"})
    assert page.context["adminform"].form.errors == {"scopes": ["This field is required."]}


def test_revoking_asks_first_and_only_a_post_does_it(client: Client, root: User) -> None:
    key, _ = ApiKey.issue("meter", ["ingest"])
    asked = client.get(revoke_url(key)).content.decode()
    assert "cannot be undone" in asked
    key.refresh_from_db()
    assert not key.revoked_at
    answer = client.post(revoke_url(key), {"_form_submitted": "on"}, headers={"HX-Current-URL": "/admin/here/"})
    assert answer.headers["HX-Redirect"] == "/admin/here/"
    key.refresh_from_db()
    assert key.revoked_at
    client.post(revoke_url(key), {"_form_submitted": "on"})
    assert "was revoked before" in client.get(reverse(LIST)).content.decode()


def test_who_may_only_look_cannot_revoke(client: Client) -> None:
    user = User.objects.create_user("auditor", is_staff=True)
    user.user_permissions.add(Permission.objects.get(content_type__app_label="billing_project", codename="view_apikey"))
    client.force_login(user)
    key, _ = ApiKey.issue("meter", ["ingest"])
    assert client.get(reverse(LIST)).status_code == 200
    assert client.post(revoke_url(key), {"_form_submitted": "on"}).status_code == 403
    assert client.get(reverse(ADD)).status_code == 403


def test_history_says_who_changed_what_from_where(client: Client, root: User) -> None:
    key, _ = ApiKey.issue("meter", ["ingest"])
    url = reverse("admin:billing_project_apikey_change", args=[key.pk])
    client.post(url, {"name": "gateway", "scopes": ["ingest"]})
    page = client.get(reverse("admin:billing_project_apikey_history", args=[key.pk])).content.decode()
    assert "<del>meter</del> → gateway" in page
    assert "scopes: ingest" in page
    assert "root" in page
    assert url in page
    assert "the system" in page  # who made it: no request did
    missing = client.get(reverse("admin:billing_project_apikey_history", args=[0]))
    assert missing.status_code == 302


def test_history_of_untracked_things_is_djangos(client: Client, root: User) -> None:
    assert client.get(reverse("admin:auth_user_history", args=[root.pk])).status_code == 200


def test_history_needs_the_right_to_look(client: Client) -> None:
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    key, _ = ApiKey.issue("meter", ["ingest"])
    assert client.get(reverse("admin:billing_project_apikey_history", args=[key.pk])).status_code == 403


def test_the_bases_refuse_what_they_promise_to_refuse(root: User) -> None:
    request = request_of(root)

    def rights(base: type[bases.ModelAdmin[Group]], obj: Group | None = None) -> tuple[bool, bool, bool, bool]:
        page = base(Group, admin.site)
        return (
            page.has_view_permission(request, obj),
            page.has_add_permission(request),
            page.has_change_permission(request, obj),
            page.has_delete_permission(request, obj),
        )

    assert rights(bases.ModelAdmin) == (True, True, True, True)
    assert rights(bases.AppendOnlyAdmin) == (True, True, False, False)
    assert rights(bases.ReadOnlyAdmin) == (True, False, False, False)

    class Keys(bases.ReadOnlyInline[ApiKey, User]):
        model = ApiKey

    inline = Keys(User, admin.site)
    assert not inline.has_add_permission(request)
    assert not inline.has_change_permission(request)


def test_a_button_shows_a_rules_refusal(client: Client, root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ApiKey) -> bool:
        raise RuleError("Not on a Sunday.")

    monkeypatch.setattr(ApiKey, "revoke", refuse)
    key, _ = ApiKey.issue("meter", ["ingest"])
    client.post(revoke_url(key), {"_form_submitted": "on"})
    assert "Not on a Sunday." in client.get(reverse(LIST)).content.decode()


def test_the_sidebar_shows_what_one_may_open(root: User) -> None:
    groups = {group["title"]: [item["title"] for item in group["items"]] for group in sidebar(request_of(root))}
    assert groups["Access"] == ["Users", "Groups", "API keys", "Jobs"]
    assert sidebar(request_of(User.objects.create_user("nobody", is_staff=True))) == []


@pytest.mark.parametrize(
    ("role", "titles"),
    [
        ("Finance", ["Jobs"]),
        ("Auditor", ["Users", "Groups", "API keys", "Jobs"]),
        ("Sales ops", None),
        ("Deal desk", None),
        ("Service", None),
    ],
)
def test_who_sees_what_of_access(role: str, titles: list[str] | None) -> None:
    """Jobs are seen by those who may look at them: Finance, which may run them too, and auditors."""
    user = User.objects.create_user("someone", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    groups = {group["title"]: [item["title"] for item in group["items"]] for group in sidebar(request_of(user))}
    assert groups.get("Access") == titles


def test_nobody_reaches_stripes_tables_from_the_admin(client: Client, root: User) -> None:
    assert "djstripe" not in client.get(reverse("admin:index")).content.decode()


def test_every_page_of_the_access_group_opens(client: Client, root: User) -> None:
    for name in ("index", "auth_user_changelist", "auth_user_add", "auth_group_changelist", "auth_group_add"):
        assert client.get(reverse(f"admin:{name}")).status_code == 200, name
    assert client.get(reverse("admin:auth_user_change", args=[root.pk])).status_code == 200
