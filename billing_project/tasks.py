"""The jobs on procrastinate's schedule. Thin: each calls its command; whoever has a worker takes part."""

import logging
from typing import Any

from django.db import transaction
from procrastinate import JobContext, exceptions
from procrastinate.contrib.django import app
from procrastinate.jobs import Status

from billing_project.jobs import jobs, run_job

log = logging.getLogger(__name__)
SILENT_SECONDS = 30


def _task(name: str) -> Any:
    def run(timestamp: int) -> None:
        run_job(name)

    # One waits and one runs at a time, whatever machine is free.
    return app.task(name=f"jobs.{name}", lock=name, queueing_lock=name)(run)


TASKS = {job.name: _task(job.name) for job in jobs().values()}
for job in jobs().values():
    if job.cron:
        app.periodic(cron=job.cron, periodic_id=job.name)(TASKS[job.name])


def ask(name: str) -> bool:
    """Let a worker run a job as soon as one is free; False if it waits for one already."""
    try:
        with transaction.atomic():
            TASKS[name].defer(timestamp=0)
    except exceptions.AlreadyEnqueued:
        return False
    return True


@app.periodic(cron="* * * * * */20")
@app.task(name="jobs.resume_stalled", queueing_lock="resume_stalled", pass_context=True)
async def resume_stalled(context: JobContext, timestamp: int) -> None:
    """Take up the jobs of workers that were killed: their heart has not beaten for a while."""
    manager = context.app.job_manager
    for stalled in await manager.get_stalled_jobs(seconds_since_heartbeat=SILENT_SECONDS):
        log.warning("The worker of %s is gone: the job is taken up again.", stalled.task_name)
        try:
            await manager.retry_job(stalled)
        except exceptions.UniqueViolation:
            # The same job waits already and does all of it.
            if stalled.id is not None:
                await manager.finish_job_by_id_async(stalled.id, Status.FAILED, delete_job=True)
    await manager.prune_stalled_workers(SILENT_SECONDS)
