"""Notifications in a real browser. Only the push service is missing: what it would deliver is handed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from approvals.reach import webpush
from tests.approvals.reaching import SUBJECT
from tests.approvals.reaching import Browser as Subscriber
from tests.process.servers import EmbeddedServer

pytestmark = pytest.mark.browser

PRIVATE, PUBLIC = webpush.new_keys()
TOLD = {"title": "An agent waits", "body": "It wants to make one call.", "url": "/approvals/7/", "tag": "7"}

#: Takes the place of the browser's connection to its push service, which is not on this machine.
SUBSCRIBES = """
(() => {
  const granted = %s;
  const made = (key) => ({
    options: { applicationServerKey: Uint8Array.from(key).buffer },
    toJSON: () => ({ ...granted, expirationTime: null }),
    unsubscribe: async () => localStorage.removeItem("subscribed"),
  });
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey: key }) => {
    if (!userVisibleOnly) throw new Error("refused");
    localStorage.setItem("subscribed", JSON.stringify([...key]));
    return made(key);
  };
  PushManager.prototype.getSubscription = async () => {
    const key = JSON.parse(localStorage.getItem("subscribed"));
    return key && made(key);
  };
})();
"""
NOTIFICATIONS = """
async () => {
  const shown = await (await navigator.serviceWorker.ready).getNotifications();
  return shown.map(({ title, body, tag, data }) => ({ title, body, tag, ...data }));
}
"""
CLICK = """
async (pages) => {
  const opened = [];
  Object.defineProperty(self, "clients", { value: {
    matchAll: async () => pages.map((url) => ({ url, focus: async () => opened.push(`focus ${url}`) })),
    openWindow: async (url) => opened.push(`open ${url}`),
  } });
  const [notification] = await self.registration.getNotifications();
  const click = new NotificationEvent("notificationclick", { notification });
  const done = new Promise((resolve) => (click.waitUntil = resolve));
  self.dispatchEvent(click);
  await (await done);
  return opened;
}
"""


@pytest.fixture(scope="module")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server with keys for web push."""
    data_dir = tmp_path_factory.mktemp("notifications") / "data"
    keys = {"VAPID_PRIVATE_KEY": PRIVATE, "VAPID_PUBLIC_KEY": PUBLIC, "VAPID_SUBJECT": SUBJECT}
    with EmbeddedServer(data_dir, keys) as running:
        yield running


@pytest.fixture
def page(context: BrowserContext, server: EmbeddedServer) -> Page:
    """A page of somebody who lets this server show notifications."""
    context.grant_permissions(["notifications"], origin=server.url)
    subscriber = Subscriber("chromium")
    granted = {"endpoint": subscriber.endpoint, "keys": subscriber.keys}
    context.add_init_script(SUBSCRIBES % json.dumps(granted))
    page = context.new_page()
    page.goto(server.url)
    return page


def push(page: Page, function: str) -> Any:
    """Call a function of ``push.js`` as the page does, with the page's own way to call the API."""
    return page.evaluate(
        "async (name) => (await import('/static/approvals/push.js'))[name]"
        "((await import('/static/chat/api.js')).call)",
        function,
    )


def deliver(page: Page, server: EmbeddedServer) -> None:
    """Hand the service worker a message, as the browser does when one has come and was decrypted."""
    cdp = page.context.new_cdp_session(page)
    registrations: list[str] = []

    def note(event: Any) -> None:
        registrations.extend(each["registrationId"] for each in event["registrations"])

    cdp.on("ServiceWorker.workerRegistrationUpdated", note)
    cdp.send("ServiceWorker.enable")
    while not registrations:
        page.evaluate("() => new Promise(requestAnimationFrame)")
    message = {"origin": server.url, "registrationId": registrations[0], "data": json.dumps(TOLD)}
    cdp.send("ServiceWorker.deliverPushMessage", message)
    page.wait_for_function("async () => (await (await navigator.serviceWorker.ready).getNotifications()).length")


def test_a_browser_is_subscribed_on_a_click_and_no_more_on_another(page: Page) -> None:
    assert push(page, "pushState") == "off"
    assert push(page, "enablePush") == "on"
    page.reload()
    assert push(page, "pushState") == "on"
    push(page, "disablePush")
    assert push(page, "pushState") == "off"


def test_the_inbox_has_a_button_for_it(page: Page, server: EmbeddedServer) -> None:
    page.goto(f"{server.url}/approvals/")
    page.get_by_role("button", name="Tell me on this device").click()
    page.get_by_text("This device is told when something waits.").wait_for()
    assert push(page, "pushState") == "on"
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Tell me on this device").wait_for()
    assert push(page, "pushState") == "off"


def test_a_subscription_with_old_keys_of_the_server_is_made_anew(page: Page) -> None:
    push(page, "enablePush")
    page.evaluate("localStorage.setItem('subscribed', '[4, 1, 2, 3]')")
    assert push(page, "pushState") == "off"
    assert push(page, "enablePush") == "on"
    assert push(page, "pushState") == "on"


@pytest.mark.parametrize(
    ("open_pages", "done"),
    [([], "open {}/approvals/7/"), (["{}/", "{}/approvals/7/"], "focus {}/approvals/7/")],
    ids=["no page", "the page is open"],
)
def test_a_message_is_shown_and_leads_to_its_page(
    page: Page, server: EmbeddedServer, open_pages: list[str], done: str
) -> None:
    push(page, "enablePush")
    deliver(page, server)
    assert page.evaluate(NOTIFICATIONS) == [TOLD]
    (worker,) = page.context.service_workers
    opened = worker.evaluate(CLICK, [each.format(server.url) for each in open_pages])
    assert opened == [done.format(server.url)]
    assert page.evaluate(NOTIFICATIONS) == []


def test_a_page_says_that_it_is_in_front_only_while_it_is(page: Page) -> None:
    sent = page.evaluate(
        """async () => {
          const { keepInFront } = await import("/static/approvals/front.js");
          const counts = [];
          const frames = [];
          const tell = keepInFront({ send: (frame) => frames.push(frame.type) });
          counts.push(frames.length);
          dispatchEvent(new Event("focus"));
          counts.push(frames.length);
          document.hasFocus = () => false;
          tell();
          dispatchEvent(new Event("focus"));
          counts.push(frames.length);
          return [counts, [...new Set(frames)]];
        }"""
    )
    assert sent == [[1, 2, 2], ["front"]]
