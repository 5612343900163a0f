"""The embedded server: one process that migrates, serves, works and sweeps."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

from common.db import release_connections
from common.loops import new_event_loop
from config.checks import require_sound_settings
from config.env import BadSetting
from config.startup import ensure_secret_key, prepare_data_dir


class Command(BaseCommand):
    """``manage.py up``: everything in one process; its data is in ``DATA_DIR``."""

    help = "Run the embedded server: migrate, serve, work and sweep in one process."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default=settings.HOST)
        parser.add_argument("--port", type=int, default=settings.PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        prepare_data_dir(settings.DATA_DIR)
        with _only_one(settings.DATA_DIR), _listening(host, port) as listener:
            ensure_secret_key(settings.DATA_DIR)
            require_sound_settings()
            call_command("migrate", verbosity=0, interactive=False)
            if settings.EMBEDDED:
                _take_over_all()
            url = settings.BASE_URL or f"http://{'localhost' if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104
            self.stdout.write(f"Holdfast is ready at {url} (Ctrl-C stops it).")
            self.stdout.write(f"Login: {url}{_login_path()}")
            self.stdout.flush()
            release_connections()  # this thread needs none from here on
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(_serve(listener))
        self.stdout.write("Stopped. What was running goes on at the next start.")


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data directory's lock: two servers on one directory would share a database but not a broker."""
    with (data_dir / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise BadSetting(
                "DATA_DIR", f"{data_dir} is in use by the server with pid {pid}. Stop it, or choose another."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(2048)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BadSetting("PORT", f"cannot listen on {host}:{port} ({reason}). Choose another one.") from error
        yield listener


def _take_over_all() -> None:
    """Nobody else runs turns on this database: whatever is marked running was lost with the last process."""
    from copilot.models import Turn
    from copilot.turns.recover import take_over

    for turn_id in list(Turn.objects.filter(status=Turn.Status.RUNNING).values_list("pk", flat=True)):
        take_over(turn_id, lease=-3600)


def _login_path() -> str:
    """A one-time login for the first user, who is created when nobody is there yet."""
    from linking.login import issue_login_link

    users = get_user_model().objects
    user = users.filter(is_superuser=True, is_active=True).order_by("date_joined").first()
    if user is None:
        user = users.create_superuser(username="admin", password=None)
    return str(issue_login_link(user=user))


class _Server(uvicorn.Server):
    """Uvicorn that tells when it was asked to stop, and does not raise the signal again afterwards."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.asked_to_stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        yield

    def _stop(self, number: int) -> None:
        self.handle_exit(number, None)
        self.asked_to_stop.set()


async def _serve(listener: socket.socket) -> None:
    from config.celery import app
    from copilot import worker
    from copilot.agent.aside import end_asides

    here = worker.Worker(asyncio.get_running_loop(), slots=settings.WORKER_TURNS)
    await asyncio.to_thread(here.start)
    worker.set_current(here)
    consuming = threading.Thread(target=_consume, args=[app], name="celery", daemon=True)
    consuming.start()
    server = _Server(
        uvicorn.Config(
            "config.asgi:application",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=3,
            server_header=False,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(server.asked_to_stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    end_asides()
    await asyncio.gather(here.stop(), serving)
    _stop_consuming(app, consuming)


def _consume(app: Any) -> None:
    """Run a real Celery worker: its messages pass the broker, only the broker is in memory."""
    app.WorkController(without_gossip=True, without_mingle=True, without_heartbeat=True).start()


def _stop_consuming(app: Any, consuming: threading.Thread) -> None:
    from celery.worker import state

    state.should_stop = 0  # type: ignore[assignment] # Celery's own convention: an exit code
    # It looks after it had a message or two seconds, then waits for one more. Nothing is admitted any more.
    for _ in range(2):
        app.send_task("copilot.run_turn", args=[""])
    consuming.join(3)
