// What every page knows of the person: their chats in the sidebar, and how many decisions wait for them.

import { keepInFront } from "../approvals/front.js";
import { knownSessions, showSessions } from "./sidebar.js";
import { Socket } from "./socket.js";

/** Events: "approvals", when other decisions wait than before, and once the connection is there; `detail` is the frame. */
export const news = new EventTarget();

const counts = [...document.querySelectorAll(".count")];

let waiting = Number(document.querySelector("script[data-waiting]").dataset.waiting);
let revision = 0;
let name = waiting ? document.title.replace(/^\(\d+\) /, "") : document.title;

/** Name the tab; how many decisions wait stands before the name. */
export function nameTab(title) {
  name = title;
  const shown = waiting ? `(${waiting}) ${name}` : name;
  if (document.title !== shown) document.title = shown;
}

function onFrame(frame) {
  if (frame.type === "sessions") showSessions(frame);
  else if (frame.type === "approvals" && frame.revision > revision) onApprovals(frame);
}

function onApprovals(frame) {
  revision = frame.revision;
  waiting = frame.pending;
  for (const count of counts) {
    count.firstElementChild.textContent = waiting;
    count.hidden = !waiting;
  }
  nameTab(name);
  news.dispatchEvent(new CustomEvent("approvals", { detail: frame }));
}

/** What changed before the connection was there, or while it was away, is asked for. */
function onOpen() {
  socket.send({ type: "known", sessions: knownSessions() });
  tellInFront();
}

function onState(state) {
  if (state !== "login") return;
  const login = document.querySelector("[data-login]")?.dataset.login;
  if (login) location.assign(`${login}?next=${encodeURIComponent(location.pathname)}`);
}

export const socket = new Socket("/ws/user/", { onOpen, onFrame, onState });
const tellInFront = keepInFront(socket);
// Whoever wants news listens by then.
addEventListener("DOMContentLoaded", () => socket.connect());
