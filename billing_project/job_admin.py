"""The page of jobs: what runs, when it last did, what failed, and a button to run it now."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from unfold.decorators import display

from billing_project.admin import ReadOnlyAdmin
from billing_project.jobs import jobs, standings
from billing_project.models import JobFailure, JobState
from billing_project.tasks import ask

if admin.site.is_registered(ProcrastinateJob):  # its own list looks like nothing else here, and says less
    admin.site.unregister(ProcrastinateJob)


@admin.register(JobState)
class JobStateAdmin(ReadOnlyAdmin[JobState]):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.run_now)
        return [path("<slug:name>/run/", view, name="billing_project_run_job"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = timezone.now()
        last = JobState.objects.order_by("-started_at").values_list("started_at", flat=True).first()
        context = {
            **self.admin_site.each_context(request),
            "title": "Jobs",
            "opts": self.opts,
            "standings": standings(now),
            "failures": JobFailure.objects.all()[:10],
            "working": last is not None and (now - last).total_seconds() < 120,
            "last": last,
            "may_run": request.user.has_perm("billing_project.run_job"),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/jobs.html", context)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:billing_project_jobstate_changelist"))

    def run_now(self, request: HttpRequest, name: str) -> HttpResponse:
        if request.method != "POST" or not request.user.has_perm("billing_project.run_job"):
            raise PermissionDenied
        job = jobs().get(name)
        if job is None:
            messages.error(request, f"{name} is no job.")
        elif ask(name):
            messages.success(request, f"{job.title}: runs as soon as a worker is free.")
        else:
            messages.info(request, f"{job.title}: waits for a worker already.")
        return HttpResponseRedirect(reverse("admin:billing_project_jobstate_changelist"))


@admin.register(JobFailure)
class JobFailureAdmin(ReadOnlyAdmin[JobFailure]):
    list_display = ["title", "at", "machine", "error"]
    list_filter = ["job"]
    fields = ["job", "at", "machine", "error", "trace"]
    search_fields = ["error"]

    @display(description="Job", ordering="job")  # type: ignore[untyped-decorator]
    def title(self, failure: JobFailure) -> str:
        job = jobs().get(failure.job)
        return job.title if job else failure.job
