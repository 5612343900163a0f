"""Starts the server under test, embedded or scaled out, with data of its own, and always stops it again."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

from bench import procs
from bench.client import MODEL

ROOT = Path(__file__).resolve().parent.parent
POSTGRES = os.environ.get("TEST_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
#: The database of this URL is emptied before and after.
REDIS = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379/9"
#: What differs from a fresh install: nothing must stand in the way of many turns of one user at once.
LIFTED = {"TURNS_PER_USER_MAX": "0", "SEND_RATE": "1000000", "WORKER_TURNS": "400"}


class NotReady(Exception):
    """A process or a command of the stack failed."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """One process of a stack, in a process group of its own, with its output in a file."""

    name: str
    command: list[str]
    env: dict[str, str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None
    _out: IO[bytes] | None = None

    def start(self) -> None:
        """Start it; it must not be running."""
        self._out = self.log.open("ab")
        self.popen = subprocess.Popen(
            self.command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=self._out,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    @property
    def pids(self) -> list[int]:
        """The process and its descendants."""
        return procs.tree(self.popen.pid) if self.popen and self.popen.poll() is None else []

    def kill(self) -> None:
        """Kill it and its descendants with SIGKILL, as a power cut would."""
        self._signal(signal.SIGKILL)
        self._reap(10)

    def stop(self) -> None:
        """Ask it to end; kill it when it has not after 15 s."""
        if self.popen and self.popen.poll() is None:
            with suppress(ProcessLookupError):
                self.popen.terminate()
            if self._reap(15):
                return
        self.kill()

    def _signal(self, number: int) -> None:
        if self.popen:
            with suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)

    def _reap(self, timeout: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            if self.popen:
                self.popen.wait(timeout)
            if self._out:
                self._out.close()
            return True
        return False

    def tail(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


@dataclass
class Stack:
    """A running server. ``web`` answers on ``port``; ``key`` is a personal key of one user."""

    kind: str
    port: int
    env: dict[str, str]
    folder: Path
    processes: list[Process] = field(default_factory=list)
    key: str = ""

    def add(self, name: str, *arguments: str) -> Process:
        """Start ``python <arguments>`` as part of the stack."""
        command = [sys.executable, *arguments]
        process = Process(name, command, self.env, self.folder / f"{name}.log")
        process.start()
        self.processes.append(process)
        return process

    def manage(self, *arguments: str) -> str:
        """Run a management command in this stack's environment and return what it printed.

        Raises:
            NotReady: it failed.
        """
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True
        )
        if done.returncode:
            raise NotReady(f"manage.py {arguments[0]} failed:\n{done.stderr[-3000:]}")
        return done.stdout.strip()

    def shell(self, code: str) -> str:
        """Run ``code`` in ``manage.py shell`` and return the last line that it printed."""
        return (self.manage("shell", "--no-imports", "-v", "0", "-c", code).splitlines() or [""])[-1]

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the web process is healthy.

        Raises:
            NotReady: it ended, or is not healthy after ``timeout`` seconds.
        """
        until = time.monotonic() + timeout
        web = self.processes[0]
        while time.monotonic() < until:
            if web.popen is None or web.popen.poll() is not None:
                break
            with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2):
                    return
            time.sleep(0.05)
        raise NotReady(f"{web.name} is not healthy")

    @property
    def pids(self) -> list[int]:
        """Every process of the server (not the database's or Redis')."""
        return [pid for process in self.processes for pid in process.pids]

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds used so far: of the server, and of the database and Redis beside it."""
        used = {"server": procs.cpu_seconds(self.pids)}
        if self.kind == "scaled":
            used["postgres"] = procs.cpu_seconds(procs.named("postgres"))
            used["redis"] = procs.cpu_seconds(procs.named("redis-server"))
        return used

    def rss(self) -> int:
        """Return the resident bytes of the server."""
        return procs.rss_bytes(self.pids)

    def stop(self) -> None:
        """Stop every process, workers first."""
        for process in reversed(self.processes):
            process.stop()

    def start(self) -> None:
        """Start every process again after ``stop``, and wait until the server is healthy."""
        for process in self.processes:
            process.start()
        self.wait_ready()


def _environment(folder: Path, provider: str, **more: str) -> dict[str, str]:
    own = {"PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}
    return {
        **{name: value for name, value in os.environ.items() if name in own},
        "ENV_FILE": os.devnull,  # a developer's .env must not change what is measured
        "PYTHONUNBUFFERED": "1",
        "DATA_DIR": str(folder / "data"),
        "SECRET_KEY": uuid.uuid4().hex * 2,
        "OPENAI_BASE_URL": f"{provider}/v1",
        "OPENAI_API_KEY": "x",
        "COPILOT_MODELS": f"{MODEL},demo/demo",
        "COPILOT_DEFAULT_MODEL": MODEL,
        "LOG_LEVEL": "WARNING",
        **LIFTED,
        **more,
    }


@contextmanager
def _running(stack: Stack) -> Iterator[Stack]:
    try:
        yield stack
    except BaseException:
        for process in stack.processes:
            if tail := process.tail().strip():
                print(f"--- {process.name}\n{tail}", file=sys.stderr)
        raise
    finally:
        stack.stop()


@contextmanager
def embedded(provider: str, **env: str) -> Iterator[Stack]:
    """Run ``manage.py up`` on a fresh data directory, with the provider at that URL."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder, port = Path(name), free_port()
        stack = Stack("embedded", port, _environment(folder, provider, **env), folder)
        with _running(stack):
            stack.add("up", "manage.py", "up", "--host", "127.0.0.1", "--port", str(port))
            stack.wait_ready()
            stack.key = stack.manage("issue_key", "bench").splitlines()[-1]
            yield stack


@contextmanager
def _database() -> Iterator[str]:
    """Create a database of our own, yield its URL, drop it."""
    name = f"holdfast_bench_{os.getpid()}_{uuid.uuid4().hex[:6]}"
    with psycopg.connect(POSTGRES, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(POSTGRES)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(POSTGRES, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def _redis() -> Iterator[str]:
    client = redis.Redis.from_url(REDIS)
    client.flushdb()
    try:
        yield REDIS
    finally:
        client.flushdb()
        client.close()


@contextmanager
def scaled(provider: str, *, workers: int = 1, redis_url: str = "", **env: str) -> Iterator[Stack]:
    """Run one web process and ``workers`` worker processes on PostgreSQL and Redis, in a fresh database.

    ``redis_url`` names a Redis of the caller's own, which may break it.
    """
    emptied = nullcontext(redis_url) if redis_url else _redis()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name, _database() as url, emptied as broker:
        folder, port = Path(name), free_port()
        (folder / "data").mkdir()
        environment = _environment(folder, provider, DATABASE_URL=url, REDIS_URL=broker, **env)
        stack = Stack("scaled", port, environment, folder)
        with _running(stack):
            stack.manage("migrate", "-v", "0")
            stack.key = stack.manage("issue_key", "bench").splitlines()[-1]
            web = ["-m", "uvicorn", "config.asgi:application", "--no-access-log", "--log-level", "warning"]
            stack.add("web", *web, "--host", "127.0.0.1", "--port", str(port))
            for number in range(workers):
                add_worker(stack, number)
            stack.wait_ready()
            yield stack


def add_worker(stack: Stack, number: int) -> Process:
    """Start one more worker process."""
    name = f"worker{number}"
    return stack.add(
        name, "-m", "celery", "-A", "config", "worker", "--loglevel", "warning", "--hostname", f"{name}@bench"
    )


@contextmanager
def provider_process() -> Iterator[str]:
    """Run the bench provider and yield its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.provider"], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def services(kind: str) -> dict[str, str]:
    """Return the versions of what the stack stores its rows in."""
    if kind == "embedded":
        return {"sqlite": sqlite3.sqlite_version}
    with psycopg.connect(POSTGRES) as connection:
        postgres = str(connection.info.server_version // 10000)
    client = redis.Redis.from_url(REDIS)
    version = str(client.info("server")["redis_version"])
    client.close()
    return {"postgresql": postgres, "redis": version}
