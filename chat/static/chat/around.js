// What stands around the transcript: title, state of the connection, what is going on, what went wrong.

import { nameTab } from "./user.js";

const QUIET_RECONNECT_MS = 800;

export const byId = (id) => document.getElementById(id);

/** Tell those who listen to the page. */
export function announce(text) {
  byId("announce").textContent = text;
}

/** Say what went wrong: a text, or several texts and elements; an empty text takes it away. */
export function problem(...said) {
  byId("problem").replaceChildren(...said);
  byId("problem").hidden = !byId("problem").textContent;
}

export function nameSession(title) {
  const shown = title || "New chat";
  if (byId("title").textContent === shown) return;
  byId("title").textContent = shown;
  const link = document.querySelector(`[data-session="${byId("chat").dataset.session}"][href]`);
  if (link) link.textContent = shown;
}

/** Name the tab after the session, with a mark while it waits for a decision. */
export function drawTitle(isAsked) {
  nameTab(`${isAsked ? "● " : ""}${byId("title").textContent} · Holdfast`);
}

/** Say what is going on; null: the answer speaks for itself. */
export function drawWorking(label, isAsked) {
  byId("working").hidden = label === null;
  byId("working").toggleAttribute("data-waiting", isAsked);
  if (label !== null && byId("working-label").textContent !== label) byId("working-label").textContent = label;
}

let quiet = null;

/** Say that the connection is lost, unless it comes back at once. */
export function drawConnection(state) {
  if (state === "connecting") return; // an attempt may hang: it changes nothing yet
  if (state === "waiting") {
    quiet ??= setTimeout(() => (byId("connection").textContent = "Reconnecting…"), QUIET_RECONNECT_MS);
    return;
  }
  clearTimeout(quiet);
  quiet = null;
  byId("connection").textContent = "";
}
