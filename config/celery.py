"""The Celery application and the life of a worker process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery, signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Celery's own Django support closes the database pool around every task, under the feet of the other turns of
# the process. Tasks here never touch the database in their own thread, so none of it is needed.
app = Celery("holdfast", fixups=[])
app.config_from_object("config.celeryconfig")
app.set_default()  # for every thread, so that services may send tasks by name


@signals.import_modules.connect(sender=app)
def _set_up_django(**_: Any) -> None:
    # The ``celery`` command knew the working directory only while it imported this module.
    root = str(Path(__file__).resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    import django

    django.setup()


@signals.worker_init.connect
def _start_worker(**_: Any) -> None:
    """Begin to work before the first message is taken."""
    from django.conf import settings

    from common import tracing
    from common.checks import TAG
    from common.garbage import spare_what_is_loaded
    from config.checks import require_sound_settings
    from config.startup import require_database, require_redis, require_secret_key, serve_metrics
    from copilot import worker

    if worker.current() is not None:
        return  # ``manage.py up`` works on the server's own loop
    require_secret_key()
    require_redis()
    require_sound_settings([TAG])
    require_database()
    serve_metrics()
    tracing.start("worker")
    thread = worker.LoopThread()
    here = worker.Worker(thread.loop, slots=settings.WORKER_TURNS)
    try:
        here.start()
    except Exception as error:
        # Celery would only log it, and keep a process that takes messages and runs nothing.
        raise SystemExit(f"The worker cannot start: {error!r}") from error
    worker.set_current(here)
    spare_what_is_loaded()


@signals.worker_shutting_down.connect
def _stop_worker(**_: Any) -> None:
    """Hand the turns back at once; their tasks then end, and the warm shutdown with them."""
    import asyncio

    from copilot import worker

    here = worker.current()
    if here is not None:
        asyncio.run_coroutine_threadsafe(here.stop(), here.loop)
