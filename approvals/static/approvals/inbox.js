// The inbox: a card for each action that waits. What is decided stays where it is, with what became of it, until the
// page is left: nothing moves under the hand of who goes through the list.

import { call } from "../chat/api.js";
import { serverClock } from "../chat/prompts.js";
import { news } from "../chat/user.js";
import { approvalCard } from "./card.js";
import { parseExact } from "./json.js";
import { wordTimes } from "./outcome.js";

const AGAIN_MS = 2000;

const inbox = document.getElementById("inbox");
const nothing = document.getElementById("nothing");
const problem = document.getElementById("problem");

const now = serverClock(Number(inbox.dataset.now));
const cards = new Map(); // id -> card

/** Put the card where the server's reading version stood. */
function draw(article) {
  const action = parseExact(article.dataset.approval);
  if (!action.requests.length) return; // it cannot be read any more, and ends by itself
  const path = `${inbox.dataset.api}${action.id}`;
  const card = approvalCard(action, {
    decide: (body) => call("POST", `${path}/decide`, body).finally(() => setTimeout(settle)),
    read: () => call("GET", path),
    now,
  });
  cards.set(action.id, card);
  article.querySelector(".place").replaceChildren(card.root);
  wordTimes(article);
}

function settle() {
  for (const [id, card] of cards) document.getElementById(`approval-${id}`)?.toggleAttribute("data-over", card.isOver);
  nothing.hidden = [...cards.values()].some((card) => !card.isOver);
}

let reading = false;
let again = false;

/** Show what waits now, and what became of what does not wait any more. */
async function refresh() {
  again = true;
  if (reading) return;
  reading = true;
  while (again) {
    again = false;
    try {
      await readAll();
      problem.hidden = true;
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      setTimeout(refresh, AGAIN_MS);
    }
  }
  reading = false;
}

async function readAll() {
  const response = await fetch(inbox.dataset.items).catch(() => null);
  if (!response?.ok || response.redirected) throw new Error("What waits for you could not be read. Trying again…");
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const waiting = [...page.querySelectorAll("article.asked")].map((article) => document.importNode(article, true));
  place(waiting);
  const ids = new Set(waiting.map((article) => article.dataset.id));
  const missing = [...cards].filter(([id, card]) => !card.isOver && !ids.has(id));
  await Promise.all(missing.map(([id, card]) => close(id, card)));
  settle();
}

/** Put those that are new before the first that ends later. */
function place(waiting) {
  let next = null;
  for (const article of waiting.reverse()) {
    const known = document.getElementById(article.id);
    if (!known) {
      inbox.insertBefore(article, next);
      draw(article);
    }
    next = known ?? article;
  }
}

async function close(id, card) {
  try {
    card.update(await call("GET", `${inbox.dataset.api}${id}`));
  } catch (error) {
    if (error.code !== "not_found") throw error;
    card.stop(); // deleted with its chat
    cards.delete(id);
    document.getElementById(`approval-${id}`).remove();
  }
}

inbox.querySelectorAll("article.asked").forEach(draw);
settle();
news.addEventListener("approvals", refresh);
