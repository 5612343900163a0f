"""A real Chromium in front of a real server: one of each for a module, a fresh browser profile for each test."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, StorageState, sync_playwright

from tests.browser.line import Line
from tests.browser.model import Parrot
from tests.browser.pages import PATIENCE_MS, PROBE, ChatPage, Complaints
from tests.process import servers
from tests.process.servers import EmbeddedServer
from tests.run import chromium, no_chromium

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESKTOP: Any = {"viewport": {"width": 1280, "height": 800}}
PHONE: Any = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Add the server's log to the report of a failure."""
    report: Any = yield
    if report.failed:
        report.sections += [("server log", stack.logs()) for stack in servers.running]
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. It ends with the module: its event loop must not meet that of other tests."""
    if reason := no_chromium():
        pytest.skip(reason)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def parrot() -> Iterator[Parrot]:
    """A model that says what the test wants, for sessions with the model ``parrot/parrot``."""
    with Parrot() as model:
        yield model


@pytest.fixture(scope="module")
def server(browser: Browser, parrot: Parrot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """``manage.py up`` with a fresh data directory."""
    data_dir = tmp_path_factory.mktemp("browser") / "data"
    with EmbeddedServer(data_dir, {**parrot.settings, "SEND_RATE": "1000"}) as running:
        yield running


@pytest.fixture(scope="module")
def login_url(server: EmbeddedServer) -> str:
    """The one-time login that the server printed."""
    printed = re.search(r"^Login: (\S+)$", server.server.output(), re.MULTILINE)
    assert printed, server.server.output()
    return printed[1]


@pytest.fixture(scope="module")
def login(browser: Browser, login_url: str) -> StorageState:
    """The cookies of the first user."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(login_url)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("#start")
        return context.storage_state()


@pytest.fixture
def line(server: EmbeddedServer) -> Iterator[Line]:
    """The server, over a network that the test can cut."""
    with Line(server.port) as open_line:
        yield open_line


@pytest.fixture
def stranger(browser: Browser) -> Iterator[BrowserContext]:
    """A browser nobody is logged in with. Whatever it complains about fails the test."""
    with browser.new_context(**DESKTOP) as context:
        yield from _watched(context)


@pytest.fixture
def context(browser: Browser, login: StorageState) -> Iterator[BrowserContext]:
    """The first user's browser. Whatever it complains about fails the test."""
    with browser.new_context(**DESKTOP, storage_state=login) as context:
        yield from _watched(context)


@pytest.fixture
def phone(browser: Browser, login: StorageState) -> Iterator[BrowserContext]:
    """The first user's phone. Whatever it complains about fails the test."""
    with browser.new_context(**PHONE, storage_state=login) as context:
        yield from _watched(context)


def _watched(context: BrowserContext) -> Iterator[BrowserContext]:
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(PROBE)
    context.complaints = Complaints(context)  # type: ignore[attr-defined]
    yield context
    assert context.complaints.unexpected == []  # type: ignore[attr-defined]


@pytest.fixture
def complaints(context: BrowserContext) -> Complaints:
    """What the browser complained about so far."""
    found: Complaints = context.complaints  # type: ignore[attr-defined]
    return found


@pytest.fixture
def new_chat(context: BrowserContext, server: EmbeddedServer) -> Callable[..., ChatPage]:
    """Return a function that opens a new, empty session; ``url`` is another way to the same server."""

    def open_session(*, url: str = "", **fields: Any) -> ChatPage:
        home = context.request.get(server.url).text()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', home)
        assert token, home
        headers = {"Content-Type": "application/json", "X-CSRFToken": token[1]}
        made = context.request.post(f"{server.url}/api/v1/sessions", data=json.dumps(fields), headers=headers)
        assert made.status == 201, made.text()
        page = context.new_page()
        page.goto(f"{url or server.url}/c/{made.json()['id']}/")
        return ChatPage(page)

    return open_session
