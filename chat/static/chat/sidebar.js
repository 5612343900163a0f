// Keeps the list of chats in step: titles, what goes on in them, new ones, and those that are gone.

const LIVE = { queued: "running", running: "running", requires_action: "waiting for you" };

const list = document.getElementById("sessions");

const linkOf = (id) => list?.querySelector(`[data-session="${CSS.escape(id)}"]`);

/** The revision of each chat as it is shown. */
export function knownSessions() {
  const links = [...(list?.querySelectorAll("[data-session]") ?? [])];
  return Object.fromEntries(links.map((link) => [link.dataset.session, Number(link.parentElement.dataset.revision)]));
}

/** Show a frame "sessions". */
export function showSessions({ changed, gone = [] }) {
  if (!list) return;
  for (const session of [...changed].sort((one, other) => (one.updated_at < other.updated_at ? -1 : 1))) show(session);
  gone.forEach(drop);
}

function show({ id, title, revision, live }) {
  const item = linkOf(id)?.parentElement ?? added(id);
  if (Number(item.dataset.revision) > revision) return; // it is known better
  item.dataset.revision = revision;
  const link = item.firstElementChild;
  const shown = title || "New chat";
  if (link.textContent !== shown) link.textContent = shown;
  mark(item, live);
}

/** A chat that began meanwhile comes first. */
function added(id) {
  const link = document.createElement("a");
  link.href = `/c/${id}/`;
  link.dataset.session = id;
  if (location.pathname === link.getAttribute("href")) link.ariaCurrent = "page";
  const item = document.createElement("li");
  item.dataset.revision = 0;
  item.append(link);
  today().prepend(item);
  return item;
}

function today() {
  const heading = list.querySelector("h2");
  if (heading?.textContent === "Today") return heading.nextElementSibling;
  const [label, items] = [document.createElement("h2"), document.createElement("ul")];
  label.textContent = "Today";
  list.querySelector("p")?.remove(); // that there are none yet
  list.prepend(label, items);
  return items;
}

function mark(item, live) {
  if (item.dataset.activity === live) return;
  item.querySelector(".live")?.remove();
  if (!live) return void delete item.dataset.activity;
  item.dataset.activity = live;
  const word = document.createElement("span");
  word.className = "live";
  word.textContent = LIVE[live] ?? live;
  item.append(word);
  return undefined;
}

function drop(id) {
  const item = linkOf(id)?.parentElement;
  const items = item?.parentElement;
  item?.remove();
  if (!items || items.childElementCount) return;
  items.previousElementSibling.remove();
  items.remove();
}
