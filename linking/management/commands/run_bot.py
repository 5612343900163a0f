"""``manage.py run_bot``: an adapter that brings the agents to a chat platform."""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from linking.platforms.base import SetupError
from linking.platforms.client import ApiError, Holdfast, Unreachable
from linking.platforms.memory import Memory

#: Each is a module with ``REQUIRED`` and ``OPTIONAL``, the settings that it reads beside its key of Holdfast, and
#: ``async serve(configured, holdfast, memory, stop, say)``, which runs until the event ``stop`` is set.
PLATFORMS = ("telegram", "discord", "slack")


class Command(BaseCommand):
    """Run an adapter until it is told to stop. It reaches Holdfast as any other program does, over REST."""

    help = "Run a bot on a chat platform until Ctrl-C. What it needs is in docs/platforms.md."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("platform", choices=PLATFORMS)
        parser.add_argument(
            "--state", type=Path, help="file that remembers what is being shown (default: in DATA_DIR/bots)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it; every setting that is missing or refused is a line."""
        platform = options["platform"]
        adapter = importlib.import_module(f"linking.platforms.{platform}")
        key_name = f"{platform.upper()}_HOLDFAST_KEY"
        configured = read_settings(adapter, key_name)
        path: Path = options["state"] or settings.DATA_DIR / "bots" / f"{platform}.json"
        with only_one(path):
            asyncio.run(self._run(adapter, configured, key_name, Memory(path)))
        self.stdout.write("Stopped. What was being shown goes on at the next start.")

    async def _run(
        self, adapter: ModuleType, configured: Mapping[str, str], key_name: str, memory: Memory
    ) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with Holdfast(settings.HOLDFAST_URL, configured[key_name]) as holdfast:
            try:
                await holdfast.is_linked_id("user", "0")
            except ApiError as error:
                raise CommandError(f"{key_name}: Holdfast refuses it: {error.detail}") from error
            except Unreachable:
                self.stderr.write(f"HOLDFAST_URL: {settings.HOLDFAST_URL} does not answer yet. I keep trying.")
            try:
                await adapter.serve(configured, holdfast, memory, stop, self._say)
            except SetupError as error:
                raise CommandError(str(error)) from error

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def read_settings(adapter: ModuleType, key_name: str) -> dict[str, str]:
    """Return the settings that an adapter reads, by name.

    Raises:
        CommandError: some that it needs are missing, or no address; a line each.
    """
    if not settings.HOLDFAST_URL.startswith(("http://", "https://")):
        raise CommandError("HOLDFAST_URL: expected an address such as https://holdfast.example.org.")
    required = (key_name, *adapter.REQUIRED)
    found = {name: str(getattr(settings, name)) for name in (*required, *adapter.OPTIONAL)}
    if missing := [name for name in required if not found[name]]:
        raise CommandError("\n".join(f"{name}: missing. See docs/platforms.md." for name in missing))
    return found


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of a state file: two adapters on one bot would take each other's messages.

    Raises:
        CommandError: another process holds it, or there is no such place.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("a")
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}). Choose another with --state.") from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(
                f"Another process runs this bot with {path}. Stop it, or choose --state."
            ) from error
        yield
