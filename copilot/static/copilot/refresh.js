// Keeps a page of figures fresh: fetches it again and swaps the figures, so that nobody loses their place.
const EVERY_MS = 30_000;
const TIMEOUT_MS = 20_000;

const stale = document.getElementById("stale");
let timer = 0;
let isBusy = false;

/** Replace the figures by newer ones; where the answer has none, somebody has to log in again. */
async function refresh() {
  const answer = await fetch(location.href, {
    headers: { Accept: "text/html" },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("figures");
  if (!fresh) return location.reload();
  const focused = document.activeElement?.getAttribute("href");
  const figures = document.getElementById("figures");
  const scrolled = [...figures.querySelectorAll(".table")].map((table) => table.scrollLeft);
  figures.replaceChildren(...fresh.childNodes);
  figures.querySelectorAll(".table").forEach((table, place) => (table.scrollLeft = scrolled[place] ?? 0));
  if (focused && document.activeElement === document.body) {
    figures.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

/** Refresh if anybody looks, and come again. */
async function tick() {
  clearTimeout(timer);
  if (!document.hidden && !isBusy) {
    isBusy = true;
    try {
      await refresh();
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
    isBusy = false;
  }
  clearTimeout(timer);
  timer = setTimeout(tick, EVERY_MS);
}

timer = setTimeout(tick, EVERY_MS);
document.addEventListener("visibilitychange", () => document.hidden || tick());
