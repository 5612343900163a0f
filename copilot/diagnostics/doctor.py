"""Is this installation in order? Each check answers in a sentence, the failing ones with the mend.

It must be quick when something is dead: whatever is asked over a socket is asked once, with a short timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from channels.layers import get_channel_layer
from django.conf import settings
from django.core.checks import run_checks
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from common.checks import TAG
from common.db import db_now
from copilot.diagnostics.broker import Unreachable, depth_in_redis
from copilot.diagnostics.storage import workers_elsewhere
from copilot.mcp.config import servers
from copilot.models import McpServer, Worker
from copilot.providers import registry
from copilot.providers.base import ModelMessage, ModelRequest, ProviderError, TextPart
from copilot.tools import sandbox

#: Seconds that one answer may take.
PATIENCE = 1.5
ONLINE_PATIENCE = 20.0
#: Every worker reports each heartbeat; after so many seconds of silence nobody looks after turns.
SILENCE = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Literal["ok", "warn", "FAIL"]
    name: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.level:<4} {self.name}: {' '.join(self.sentence.split())}"


def examine(*, online: bool = False) -> Iterator[Finding]:
    """Yield the findings one by one, as they are made.

    Args:
        online: also ask each provider for a few tokens.
    """
    yield from _settings()
    database = _database()
    yield database
    usable = database.level != "FAIL"
    broker = _broker()
    yield broker
    yield _channel_layer(broker)
    yield _storage(usable=usable)
    yield from _providers(online=online)
    yield _shell()
    yield from _mcp_servers(usable=usable)
    yield _sweep(usable=usable)


def _settings() -> Iterator[Finding]:
    messages = [message for message in run_checks(tags=[TAG]) if not message.is_silenced()]
    for message in sorted(messages, key=lambda message: str(message.id)):
        level: Literal["warn", "FAIL"] = "FAIL" if message.is_serious() else "warn"
        yield Finding(level, "settings", f"{message.msg} {message.hint or ''}")
    if not messages:
        yield Finding("ok", "settings", "no contradictions")


# --- database -------------------------------------------------------------------------------


def _database() -> Finding:
    where = _database_name()
    migrate = "Run `manage.py up`, which migrates first." if settings.EMBEDDED else "Run `manage.py migrate`."
    if connection.vendor == "sqlite" and not _sqlite_file_exists():
        return Finding("FAIL", "database", f"{where} is not there yet. {migrate}")
    try:
        connect_once()
        if missing := _unapplied():
            return Finding("FAIL", "database", f"{where} lacks {missing} migrations. {migrate}")
        _write_nothing()
    except (DatabaseError, OSError) as error:
        mend = "Start it, or correct DATABASE_URL."
        return Finding("FAIL", "database", f"{where} cannot be used ({_reason(error)}). {mend}")
    return Finding("ok", "database", f"{where} is reachable, migrated and can be written")


def _database_name() -> str:
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"SQLite at {database['NAME']}"
    return f"PostgreSQL {database['NAME']} at {database['HOST'] or 'localhost'}:{database['PORT'] or 5432}"


def _sqlite_file_exists() -> bool:
    name = str(connection.settings_dict["NAME"])
    return ":memory:" in name or name.startswith("file:") or Path(name).exists()


def connect_once() -> None:
    """Fail at once where the pool would try again for ten seconds, and log each time.

    Raises:
        DatabaseError: the database does not let us in.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return
    import psycopg

    try:
        psycopg.connect(**{**connection.get_connection_params(), "connect_timeout": 2}).close()
    except psycopg.Error as error:
        raise DatabaseError(str(error)) from error


def _unapplied() -> int:
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _write_nothing() -> None:
    with transaction.atomic():
        Worker.objects.create(host="doctor", pid=os.getpid(), version="", slots=0)
        transaction.set_rollback(True)


# --- broker and channel layer ------------------------------------------------------------------


def _broker() -> Finding:
    if settings.EMBEDDED:
        return Finding("ok", "broker", "in the embedded server's memory; nothing to reach")
    where = _redis_name()
    try:
        waiting = depth_in_redis(patience=PATIENCE)
    except Unreachable as unreachable:
        mend = "Start it, or correct REDIS_URL."
        reason = _reason(unreachable.__cause__ or unreachable)
        return Finding("FAIL", "broker", f"{where} does not answer ({reason}). {mend}")
    return Finding("ok", "broker", f"{where} answers; {waiting} messages wait")


def _redis_name() -> str:
    """Name the server without its password."""
    url = urlsplit(settings.REDIS_URL)
    return f"Redis at {url.hostname or url.path}{f':{url.port or 6379}' if url.hostname else ''}"


def _channel_layer(broker: Finding) -> Finding:
    name = "channel layer"
    if settings.EMBEDDED:
        return Finding("ok", name, "in the embedded server's memory; nothing to reach")
    if broker.level == "FAIL":
        return Finding("warn", name, "not tried, because it is in the same Redis")
    started = time.monotonic()
    try:
        asyncio.run(_round_trip())
    except Exception as error:  # noqa: BLE001 - whatever a layer raises is the finding
        return Finding("FAIL", name, f"a message did not come back ({_reason(error)}). Check {_redis_name()}.")
    return Finding("ok", name, f"a message came back after {(time.monotonic() - started) * 1000:.0f} ms")


async def _round_trip() -> None:
    layer: Any = get_channel_layer()
    async with asyncio.timeout(PATIENCE):
        channel = await layer.new_channel()
        group = f"doctor.{os.getpid()}"
        await layer.group_add(group, channel)
        await layer.group_send(group, {"type": "doctor.ping"})
        await layer.receive(channel)
        await layer.group_discard(group, channel)


# --- storage ------------------------------------------------------------------------------------


def _storage(*, usable: bool) -> Finding:
    folder = Path(settings.DATA_DIR)
    if usable and (elsewhere := workers_elsewhere()):
        mend = "Mount the same storage at DATA_DIR on every web and worker host."
        return Finding("FAIL", "storage", f"DATA_DIR ({folder}) is not that of {', '.join(elsewhere)}. {mend}")
    if not folder.exists():
        return Finding("warn", "storage", f"DATA_DIR ({folder}) is not there yet; the first process creates it")
    probe = folder / f".doctor-{os.getpid()}"
    try:
        probe.write_text("ok")
        probe.unlink()
    except OSError as error:
        mend = "Give this user the right to write there, or set DATA_DIR to another directory."
        return Finding("FAIL", "storage", f"DATA_DIR ({folder}) cannot be written ({_reason(error)}). {mend}")
    return Finding("ok", "storage", f"DATA_DIR ({folder}) can be written")


# --- providers ----------------------------------------------------------------------------------


def _providers(*, online: bool) -> Iterator[Finding]:
    """Say which providers are configured; a model that new sessions would take must be usable."""
    default = registry.default_model()
    ready: dict[str, str] = {}
    lacking: dict[str, str] = {}
    for model_id in dict.fromkeys([default, *(info.id for info in registry.offered_models())]):
        provider = model_id.partition("/")[0]
        if problem := _unusable(model_id):
            lacking.setdefault(provider, problem)
        else:
            ready.setdefault(provider, model_id)
    for name in settings.COPILOT_PROVIDERS:
        if name not in ready and name not in lacking:
            lacking[name] = "No model of it is named in COPILOT_MODELS."
    names = ", ".join(ready) or "none"
    level: Literal["ok", "FAIL"] = "FAIL" if default.partition("/")[0] in lacking else "ok"
    label = " (answers are canned: set a key to talk to a real model)" if default == registry.DEMO else ""
    yield Finding(level, "providers", f"configured: {names}; new sessions take {default}{label}")
    for name, problem in lacking.items():
        yield Finding("FAIL" if name == default.partition("/")[0] else "warn", f"provider {name}", problem)
    if online:
        yield from _ask(model_id for model_id in ready.values() if model_id != registry.DEMO)


def _unusable(model_id: str) -> str:
    try:
        registry.provider_for(model_id)
    except ProviderError as error:
        return f"{error.detail} {error.hint}"
    except registry.UnknownModel as error:
        return str(error)
    return ""


def _ask(model_ids: Iterable[str]) -> Iterator[Finding]:
    for model_id in model_ids:
        name = f"provider {model_id.partition('/')[0]}"
        started = time.monotonic()
        try:
            asyncio.run(_first_part(model_id))
        except ProviderError as error:
            yield Finding("FAIL", name, f"{model_id} failed: {error.detail} {error.hint}")
        except TimeoutError:
            yield Finding("FAIL", name, f"{model_id} said nothing for {ONLINE_PATIENCE:g} seconds.")
        else:
            yield Finding("ok", name, f"{model_id} answered after {time.monotonic() - started:.1f} s")


async def _first_part(model_id: str) -> None:
    """Wait for the first sign of an answer to a tiny request."""
    provider, model = registry.provider_for(model_id)
    request = ModelRequest(
        model=model,
        system="Answer with one word.",
        messages=(ModelMessage("user", (TextPart("Say ok."),)),),
        max_output_tokens=64,
    )
    async with asyncio.timeout(ONLINE_PATIENCE), contextlib.aclosing(provider.stream(request)) as stream:
        async for _ in stream:
            return


# --- tools --------------------------------------------------------------------------------------


def _shell() -> Finding:
    if settings.SHELL_SANDBOX == "disabled":
        return Finding("ok", "shell", "not offered, because SHELL_SANDBOX is disabled")
    if problem := sandbox.problem():
        return Finding("warn", "shell", f"not offered. {problem} Or set SHELL_SANDBOX=disabled.")
    if settings.SHELL_SANDBOX == "unsafe_host":
        return Finding("warn", "shell", "commands run on this machine without a sandbox (SHELL_SANDBOX)")
    network = "with the network of this machine" if settings.SHELL_NETWORK else "without network"
    return Finding("ok", "shell", f"commands run in bubblewrap, {network}")


# --- MCP servers --------------------------------------------------------------------------------


def _mcp_servers(*, usable: bool) -> Iterator[Finding]:
    """Say what workers last heard of each server; nothing is connected to."""
    for name in servers():
        row = McpServer.objects.filter(name=name).first() if usable else None
        if not usable:
            yield Finding("warn", f"mcp {name}", "not checked, because the database cannot be used")
        elif row is None:
            yield Finding(
                "warn", f"mcp {name}", "no worker has connected to it yet; the next one that starts does"
            )
        elif row.problem:
            mend = "Correct MCP_SERVERS, or start it; the next call tries again."
            yield Finding("FAIL", f"mcp {name}", f"cannot be reached ({row.problem}). {mend}")
        else:
            yield Finding(
                "ok", f"mcp {name}", f"{len(row.tools)} tools, heard at {row.listed_at:%Y-%m-%d %H:%M} UTC"
            )


# --- workers ------------------------------------------------------------------------------------


def _sweep(*, usable: bool) -> Finding:
    """Every worker sweeps as long as it reports."""
    if not usable:
        return Finding("warn", "sweep", "not checked, because the database cannot be used")
    workers = Worker.objects.annotate(now=db_now()).order_by("-seen_at")
    newest = workers.values("host", "pid", "seen_at", "now").first()
    silence = (newest["now"] - newest["seen_at"]).total_seconds() if newest else float("inf")
    told = (
        f"{newest['host']}:{newest['pid']} reported {max(silence, 0):.1f} s ago"
        if newest
        else "nobody ever reported"
    )
    if settings.EMBEDDED and not (pid := _server_pid()):
        return Finding("warn", "sweep", f"the embedded server is not running ({told}). Start it: `manage.py up`.")
    if silence <= SILENCE:
        return Finding("ok", "sweep", told)
    if settings.EMBEDDED:
        mend = "Look at its log, and start it again."
        return Finding("FAIL", "sweep", f"the embedded server (pid {pid}) does not report ({told}). {mend}")
    return Finding("FAIL", "sweep", f"no worker runs turns ({told}). Start one: `celery -A config worker`.")


def _server_pid() -> str:
    """Return the pid of the embedded server that holds the data directory, or an empty string."""
    try:
        with (Path(settings.DATA_DIR) / "up.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip() or "unknown"
    except OSError:
        return ""  # never started here
    return ""


def _reason(error: BaseException) -> str:
    """The first line of an error; its class where it has nothing to say."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__
