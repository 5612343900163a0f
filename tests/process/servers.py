"""Starts the project as people do, in processes of its own, and always stops it again.

Nothing here knows Django: the server under test is reached by its commands, its port and its database alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

ROOT = Path(__file__).resolve().parents[2]
POSTGRES = os.environ.get("TEST_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
READY_SECONDS = 30.0
COMMAND_SECONDS = 60.0
#: Of the environment of whoever runs the tests, this much reaches the processes under test.
INHERITED = {"PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}

#: Every stack that is up, and the last words of those that a test ended: if it fails both are shown.
running: list[Stack] = []
last_words: list[str] = []


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """Return a clean environment for a process under test."""
    inherited = {name: value for name, value in os.environ.items() if name in INHERITED}
    return {**inherited, "ENV_FILE": os.devnull, "PYTHONUNBUFFERED": "1", **more}


def until(what: str, condition: Any, seconds: float) -> Any:
    """Wait in this thread until ``condition()`` is true and return it.

    Raises:
        AssertionError: it was not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what} within {seconds:g} s"
        time.sleep(0.02)
    return value


class Process:
    """One process in a process group of its own, with its output in a file."""

    def __init__(self, name: str, command: list[str], *, env: dict[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self._env = env
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; it must not be running."""
        assert not self.alive
        with self.log.open("ab") as out:
            self._popen = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What it ended with, negative for a signal; None while it runs."""
        return self._popen.poll() if self._popen is not None else None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def send(self, number: int) -> None:
        """Send a signal to the process and everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """``kill -9``: it gets no chance to say goodbye. Idempotent."""
        if self._popen is not None:
            self.send(signal.SIGKILL)
            self._popen.wait(10)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20) -> tuple[int, float]:
        """Ask it to end; return its exit code and how many seconds that took.

        Raises:
            subprocess.TimeoutExpired: it is still there after ``timeout`` seconds.
        """
        assert self._popen is not None
        asked = time.monotonic()
        self._popen.send_signal(number)
        code = self._popen.wait(timeout)
        return code, time.monotonic() - asked

    def output(self) -> str:
        """Return everything that it printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Stack:
    """A running server that answers on ``url``. Use it as a context manager.

    Args:
        data_dir: where it keeps its files; survives the stack.
        env: settings that differ from a fresh install, where nobody may send as fast as tests do.
    """

    def __init__(self, data_dir: Path, env: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.env = environment(DATA_DIR=str(data_dir), PORT=str(self.port), **{"SEND_RATE": "0", **(env or {})})
        self.processes: list[Process] = []
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-process-"))
        self._exit = ExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ports(self) -> list[int]:
        """The port of every web process."""
        return [self.port]

    def _open(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        running.append(self)
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process at once and take everything but ``data_dir`` away."""
        last_words.append(self.logs())
        for process in reversed(self.processes):
            process.kill()
        self._exit.close()
        running.remove(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, name: str, *arguments: str) -> Process:
        """Start ``python <arguments>`` as a part of this stack."""
        process = Process(name, [sys.executable, *arguments], env=self.env, folder=self.folder)
        self.processes.append(process)
        return process.start()

    def wait_ready(self, process: Process) -> None:
        """Wait until ``process`` answers on this stack's port."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._healthy():
            assert process.alive, f"{process.name} ended:\n{process.output()[-3000:]}"
            assert time.monotonic() < deadline, f"{process.name} is not healthy"
            time.sleep(0.02)

    def _healthy(self) -> bool:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return True
        return False

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py <arguments>`` in this stack's environment to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    def manage(self, *arguments: str) -> str:
        """Run a management command that must succeed; return what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"manage.py {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def issue_key(self, username: str = "ada") -> str:
        """Return a new personal key of ``username``, who is created if absent."""
        return self.manage("issue_key", username).splitlines()[-1]

    def check_invariants(self) -> None:
        """Have the project itself look for rows that break a rule."""
        done = self.run("check_invariants")
        assert done.returncode == 0, f"check_invariants:\n{done.stdout}{done.stderr}"

    def logs(self) -> str:
        """Return the end of what each process printed."""
        return "\n".join(f"--- {process.name}\n{process.output()[-4000:]}" for process in self.processes)


class EmbeddedServer(Stack):
    """``manage.py up`` on a free port."""

    def _open(self) -> None:
        self.server = self.add("up", "manage.py", "up", "--host", "127.0.0.1", "--port", str(self.port))
        self.wait_ready(self.server)

    def restart(self) -> None:
        """Start it again on the same data and port, after it was stopped or killed; wait until it answers."""
        self.server.start()
        self.wait_ready(self.server)


class RedisServer(Process):
    """A Redis that keeps nothing and is nobody else's: it may be stopped, emptied and killed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        keep_nothing = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", *keep_nothing]
        super().__init__("redis", command, env=environment(), folder=folder)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start it and wait until it answers."""
        super().start()
        until("answer of Redis", self._answers, READY_SECONDS)
        return self

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError), redis.Redis.from_url(self.url) as client:
            return bool(client.ping())
        return False

    def flushall(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


class Databases:
    """PostgreSQL databases of our own: one is migrated, the others are copies of it."""

    def __init__(self) -> None:
        self._template = ""

    def create(self, *, migrated: bool = True) -> str:
        """Create a database and return its name."""
        if not migrated:
            return self._new("")
        if not self._template:
            self._template = self._new("")
            env = environment(
                DATABASE_URL=url_of(self._template), REDIS_URL="redis://127.0.0.1:1/0", SECRET_KEY="x" * 50
            )
            command = [sys.executable, "manage.py", "migrate", "-v", "0"]
            subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=COMMAND_SECONDS)
        return self._new(f'TEMPLATE "{self._template}"')

    def _new(self, template: str) -> str:
        name = f"holdfast_process_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(POSTGRES, autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}" {template}')
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        with psycopg.connect(POSTGRES, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def close(self) -> None:
        """Drop the migrated one."""
        if self._template:
            self.drop(self._template)
            self._template = ""


databases = Databases()


def url_of(database: str) -> str:
    """Return the URL of a database of the test server."""
    return urlunsplit(urlsplit(POSTGRES)._replace(path=f"/{database}"))


class ScaledStack(Stack):
    """Web, workers, a PostgreSQL database and a Redis, all its own.

    Args:
        pool: connections that each process may hold.
    """

    def __init__(
        self,
        data_dir: Path,
        env: dict[str, str] | None = None,
        *,
        n_web: int = 1,
        n_workers: int = 1,
        pool: int = 10,
    ) -> None:
        own = {"SECRET_KEY": uuid.uuid4().hex * 2, "DATABASE_POOL": str(pool)}
        super().__init__(data_dir, {**own, **(env or {})})
        self.web: list[Process] = []
        self.workers: list[Process] = []
        self._counts = (n_web, n_workers)
        self._ports: list[int] = []

    @property
    def ports(self) -> list[int]:
        return self._ports

    def broker_url(self) -> str:
        """Start what the processes reach Redis by, and return its URL."""
        return self.redis.url

    def _open(self) -> None:
        name = databases.create()
        self._exit.callback(databases.drop, name)
        self.redis = RedisServer(self.folder).start()
        self.processes.append(self.redis)
        self.data_dir.mkdir(exist_ok=True)
        self.env |= {"DATABASE_URL": url_of(name), "REDIS_URL": self.broker_url()}
        n_web, n_workers = self._counts
        for _ in range(n_web):
            self.add_web()
        for _ in range(n_workers):
            self.add_worker(wait=False)
        self.wait_ready(self.web[0])
        until("worker", lambda: self._registered() >= n_workers, READY_SECONDS)

    def add_web(self) -> Process:
        """Start a web process; the first one listens on ``port``."""
        port = free_port() if self.web else self.port
        self._ports.append(port)
        options = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "warning"]
        self.web.append(self.add(f"web{len(self.web)}", "-m", "uvicorn", "config.asgi:application", *options))
        return self.web[-1]

    def add_worker(self, *, wait: bool = True) -> Process:
        """Start one more worker process; with ``wait`` return once it works."""
        before, name = self._registered(), f"worker{len(self.workers)}"
        options = ["--loglevel", "warning", "--hostname", f"{name}@test"]
        self.workers.append(self.add(name, "-m", "celery", "-A", "config", "worker", *options))
        if wait:
            until("new worker", lambda: self._registered() > before, READY_SECONDS)
        return self.workers[-1]

    def query(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Read rows of the database."""
        with psycopg.connect(self.env["DATABASE_URL"], autocommit=True) as connection:
            return connection.execute(sql.encode(), arguments).fetchall()

    def _registered(self) -> int:
        return int(self.query("SELECT count(*) FROM copilot_worker")[0][0])

    def worker_of(self, turn_id: str) -> Process:
        """Return the worker process that runs the turn, as soon as one does."""
        sql = "SELECT w.pid FROM copilot_worker w JOIN copilot_turn t ON t.worker = w.id WHERE t.id = %s"
        pid = until("worker of the turn", lambda: self.query(sql, turn_id), 10)[0][0]
        return next(worker for worker in self.workers if worker.pid == pid)
