// The page of a session: the websocket on one side, transcript, composer and queue on the other.

import { call, fetchMessages } from "./api.js";
import { Composer, Outbox, newId, takeFirst } from "./composer.js";
import { LiveTurn, textOf, userArticle } from "./live.js";
import { Socket } from "./socket.js";
import { TurnFold } from "./transcript.js";
import { Scroll, Transcript, drawQueue } from "./view.js";

const QUIET_RECONNECT_MS = 800;
const SYNC_AGAIN_MS = 2000;

const byId = (id) => document.getElementById(id);
const data = byId("chat").dataset;

const transcript = new Transcript(byId("transcript"));
const scroll = new Scroll(byId("scroll"), byId("jump"));
const outbox = new Outbox(data.session);
const composer = new Composer(byId("composer"), data.session, send);

const turns = new Map(); // id -> {fold, live, model}; `live` is null once the server's own rendering is there
let active = null; // the turn that has not ended: {id, status?, model?}
let queue = []; // messages that wait: {id, text, held}
let sessionModel = data.model;
let revision = Number(data.revision);
let syncedRevision = "newer" in data ? -1 : revision;
let stopping = null; // {turn, clientId}

// --- drawing ---------------------------------------------------------------------------------

let drawing = false;

/** Draw before the next paint; a tab in the background paints seldom. */
function drawSoon() {
  if (drawing) return;
  drawing = true;
  if (document.hidden) setTimeout(draw, 200);
  else requestAnimationFrame(draw);
}

function draw() {
  drawing = false;
  for (const turn of turns.values()) turn.live?.draw({ demo: isDemo(turn.model || sessionModel) });
  drawQueue(byId("queue"), waiting(), { withdraw, deliver });
  drawWorking();
  byId("stop").hidden = !active;
  byId("stop").disabled = stopping !== null && stopping.turn === active?.id;
  byId("empty").hidden = !transcript.isEmpty || active !== null;
  byId("demo").hidden = !isDemo(active?.model || sessionModel);
  scroll.settle();
}

function waiting() {
  const unsent = outbox.items.filter((item) => item.behind).map(({ text }) => ({ text }));
  return [...queue, ...unsent];
}

function drawWorking() {
  const label = active ? workingLabel(turns.get(active.id)?.fold) : null;
  byId("working").hidden = label === null;
  if (label !== null && byId("working-label").textContent !== label) byId("working-label").textContent = label;
}

/** What to say while nothing can be read yet; null when the answer speaks for itself. */
function workingLabel(fold) {
  if (stopping?.turn === active.id) return "Stopping…";
  if (active.status === "requires_action") return "Waiting for you.";
  if (!fold) return "";
  if (fold.status) return statusLabel(fold.status);
  const open = fold.openParts.at(-1);
  if (open) return open.type === "text" && open.version > 0 ? null : ""; // thoughts have a line of their own
  const running = (fold.messages.at(-1)?.parts ?? []).filter((part) => part.state?.startsWith("input-"));
  return running.length ? `Running ${running.map((part) => part.toolName).join(", ")}…` : "";
}

function statusLabel({ state, attempt }) {
  switch (state) {
    case "retrying":
      return attempt ? `The model did not answer. Trying again (${attempt})…` : "The model did not answer. Trying again…";
    case "recovered":
      return "Picked up again after an interruption.";
    case "compacting":
    case "compacted":
      return "Making room in the conversation…";
    case "waiting_limit":
      return "Waiting for the usage limit…";
    default:
      return "";
  }
}

function isDemo(model) {
  return model.startsWith("demo/");
}

function announce(text) {
  byId("announce").textContent = text;
}

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

function setTitle(title) {
  const shown = title || "New chat";
  if (byId("title").textContent === shown) return;
  byId("title").textContent = shown;
  document.title = `${shown} · Holdfast`;
  const link = document.querySelector(`[data-session="${data.session}"][href]`);
  if (link) link.textContent = shown;
}

// --- what the server says ----------------------------------------------------------------------

const socket = new Socket(data.socket, { onOpen, onFrame, onState });

function onOpen() {
  const unfinished = [...turns.values()].map((turn) => turn.fold).findLast((fold) => !fold.isOver);
  const cursor = unfinished ? { turn: unfinished.id, after: unfinished.lastSeq } : {};
  socket.send({ type: "follow", html: true, ...cursor });
  outbox.items.forEach(transmit);
}

function onFrame(frame) {
  switch (frame.type) {
    case "session":
      onSnapshot(frame);
      break;
    case "event":
      onEvent(frame);
      break;
    case "html":
      turns.get(frame.turn)?.fold.html(frame);
      break;
    case "ack":
      onAck(frame);
      break;
    case "error":
      onError(frame);
      break;
    default:
      return; // a heartbeat, or something newer than this page
  }
  drawSoon();
}

function onSnapshot(snapshot) {
  if (snapshot.revision < revision) return;
  revision = snapshot.revision;
  sessionModel = snapshot.model ?? data.model;
  setTitle(snapshot.title);
  const turn = snapshot.active_turn;
  active = turn && !turns.get(turn.id)?.fold.isOver ? turn : null;
  if (active && turns.has(active.id)) turns.get(active.id).model = active.model;
  queue = (snapshot.queued ?? []).map(queuedItem);
  if (revision !== syncedRevision) sync();
}

function queuedItem(message) {
  return { id: message.id, text: textOf(message.parts), held: Boolean(message.held) };
}

function onEvent({ turn: id, seq, chunk }) {
  const turn = turnOf(id);
  const { fold } = turn;
  if (seq > fold.lastSeq + 1 && fold.isGapless && turn.gapAt !== fold.lastSeq) {
    turn.gapAt = fold.lastSeq; // asked for again once; then what comes is taken as it is
    socket.lost();
    return;
  }
  if (!fold.event(seq, chunk)) return;
  if (chunk.type === "data-title") setTitle(chunk.data.title);
  if (fold.isOver) onEnd(fold);
  else if (active?.id !== id) {
    active = { id };
    announce("Holdfast is answering.");
  }
}

function turnOf(id) {
  if (!turns.has(id)) {
    const fold = new TurnFold(id);
    turns.set(id, { fold, live: new LiveTurn(fold, transcript), model: active?.id === id ? active.model : "" });
  }
  return turns.get(id);
}

function onEnd(fold) {
  if (active?.id === fold.id) active = null;
  if (stopping?.turn === fold.id) stopping = null;
  if (fold.aborted) announce("Stopped.");
  else announce(fold.failure ? `The answer failed. ${fold.failure.detail}` : "Answer complete.");
}

function onAck(frame) {
  const item = outbox.settle(frame.client_id);
  if (!item) return;
  const { message, turn, queued } = frame.result ?? frame;
  if (!message) return;
  if (queued || message.state === "queued") {
    transcript.remove(item.clientId);
    if (!queue.some((other) => other.id === message.id)) queue.push(queuedItem(message));
    return;
  }
  const known = transcript.find(message.id, item.clientId);
  const article = known ?? userArticle({ clientId: item.clientId, text: item.text });
  article.removeAttribute("data-pending");
  Object.assign(article.dataset, { id: message.id, seq: message.seq, turn: message.turn });
  if (!known) transcript.insert(article);
  if (turn?.id && !turns.get(turn.id)?.fold.isOver && !turn.finished_at) active ??= turn;
}

function onError(frame) {
  const item = outbox.settle(frame.client_id);
  if (item) {
    transcript.remove(item.clientId);
    composer.restore(item.text);
  }
  if (stopping?.clientId === frame.client_id) stopping = null;
  problem(frame.detail ?? "That did not work.");
}

let quiet = null;

function onState(state) {
  if (state === "connecting") return; // an attempt may hang: it changes nothing yet
  if (state === "waiting") {
    quiet ??= setTimeout(() => (byId("connection").textContent = "Reconnecting…"), QUIET_RECONNECT_MS);
    return;
  }
  clearTimeout(quiet);
  quiet = null;
  if (state === "open") byId("connection").textContent = "";
  else if (state === "login") location.assign(`${data.login}?next=${encodeURIComponent(location.pathname)}`);
  else if (state === "missing") gone();
}

function gone() {
  byId("connection").textContent = "";
  problem("This chat does not exist any more.");
  composer.box.disabled = true;
}

// --- settled messages ----------------------------------------------------------------------------

let syncing = false;
let syncAgain = false;

/** Fetch the messages that this page does not have, and the server's rendering of those it drew itself. */
async function sync() {
  syncAgain = true;
  if (syncing) return;
  syncing = true;
  try {
    while (syncAgain) {
      syncAgain = false;
      await syncOnce();
    }
  } catch (error) {
    if (error.code === "login") onState("login");
    else setTimeout(sync, SYNC_AGAIN_MS);
  } finally {
    syncing = false;
    drawSoon();
  }
}

async function syncOnce() {
  const seen = revision;
  const page = await fetchMessages(`${data.messages}?after=${transcript.settledSeq}`);
  const before = transcript.settledSeq;
  draw(); // what came meanwhile is drawn before it may be replaced
  transcript.adopt(page.articles, (turn) => turn === active?.id);
  draw(); // and what belongs to the messages that came
  for (const turn of turns.values()) if (turn.fold.id !== active?.id) turn.live = null;
  syncedRevision = seen;
  if (page.hasNewer && transcript.settledSeq > before) syncAgain = true;
}

byId("older")?.addEventListener("click", async (event) => {
  event.preventDefault();
  const link = event.currentTarget;
  const first = transcript.root.firstElementChild?.dataset.seq;
  try {
    const page = await fetchMessages(`${data.messages}?before=${first}`);
    scroll.holding(() => {
      transcript.prepend(page.articles);
      if (!page.hasOlder) link.parentElement.remove();
    });
  } catch {
    location.assign(link.href);
  }
});

// --- what the person does ------------------------------------------------------------------------

function send(text) {
  problem("");
  const item = outbox.add(text);
  item.behind = active !== null; // it will wait for the answer that is being written
  outbox.keep();
  if (!item.behind) showPending(item);
  transmit(item);
  scroll.toEnd();
  drawSoon();
}

function transmit({ text, clientId }) {
  socket.send({ type: "send", text, client_id: clientId });
}

function showPending({ text, clientId }) {
  transcript.append(userArticle({ clientId, text, pending: true }));
}

byId("stop").addEventListener("click", async () => {
  if (!active) return;
  stopping = { turn: active.id, clientId: newId() };
  drawSoon();
  const { turn, clientId } = stopping;
  if (socket.send({ type: "cancel", turn, client_id: clientId })) return;
  try {
    await call("POST", `${data.api}turns/${turn}/cancel`);
  } catch (error) {
    stopping = null;
    problem(error.message);
    drawSoon();
  }
});

async function withdraw(item) {
  try {
    await call("DELETE", `${data.api}sessions/${data.session}/queued/${item.id}`);
    queue = queue.filter((other) => other.id !== item.id);
    composer.restore(item.text);
  } catch (error) {
    problem(error.message);
  }
  drawSoon();
}

async function deliver() {
  try {
    await call("POST", `${data.api}sessions/${data.session}/queued/deliver`);
  } catch (error) {
    problem(error.message);
  }
}

// --- start -----------------------------------------------------------------------------------------

outbox.items.forEach((item) => {
  item.behind = false;
  if (!transcript.find(null, item.clientId)) showPending(item);
});
const first = takeFirst();
if (first && transcript.isEmpty) send(first);
window.sendEarly(byId("composer"));
socket.connect();
draw();
scroll.toEnd();
