"""Runs of exports: what was written where."""

from django.contrib import admin
from unfold.decorators import display

from billing_project.admin import ReadOnlyAdmin
from invoicing.models import ExportRun


@admin.register(ExportRun)
class ExportRunAdmin(ReadOnlyAdmin[ExportRun]):
    list_display = ["dataset", "place", "number", "rows", "number_of_files", "started_at", "state"]
    list_filter = ["export__dataset"]
    list_select_related = ["export"]
    list_per_page = 50
    fields = ["export", "number", "from_the_beginning", "rows", "files", "left_out", "started_at", "finished_at"]
    search_fields = ["export__dataset", "export__place"]

    @admin.display(ordering="export__dataset")
    def dataset(self, run: ExportRun) -> str:
        return f"{run.export.dataset} ({run.export.format})"

    @admin.display(ordering="export__place")
    def place(self, run: ExportRun) -> str:
        return run.export.place

    @admin.display(description="Files")
    def number_of_files(self, run: ExportRun) -> int:
        return len(run.files)

    @display(  # type: ignore[untyped-decorator]
        description="State", ordering="finished_at", label={"Complete": "success", "Under way or stopped": "warning"}
    )
    def state(self, run: ExportRun) -> str:
        return "Complete" if run.finished_at else "Under way or stopped"
