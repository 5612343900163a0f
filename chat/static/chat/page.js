// The page of a session: the websocket on one side, transcript, composer and queue on the other.

import { call, fetchMessages } from "./api.js";
import { Attachments, fileId } from "./attaching.js";
import { announce, byId, drawConnection, drawTitle, drawWorking, nameSession, problem } from "./around.js";
import { Branches } from "./branches.js";
import { ChildPrompts } from "./children.js";
import { Composer, Outbox, newId, takeFirst } from "./composer.js";
import { LiveTurn, filesOf, textOf, userArticle } from "./live.js";
import { Prompts, serverClock, waitsFor } from "./prompts.js";
import { refusal } from "./refused.js";
import { Socket } from "./socket.js";
import { TurnFold } from "./transcript.js";
import { Scroll, Transcript, drawQueue } from "./view.js";
import { workingLabel } from "./working.js";

const SYNC_AGAIN_MS = 2000;
const ABOVE_PX = 60; // what stays to be seen above a place that is gone to

const data = byId("chat").dataset;

const transcript = new Transcript(byId("transcript"));
const scroll = new Scroll(byId("scroll"), byId("jump"));
const outbox = new Outbox(data.session);
const composer = new Composer(byId("composer"), data.session, send);
composer.attachments = new Attachments(byId("composer"), {
  api: data.api,
  session: data.session,
  onChange: () => composer.changed(),
  onProblem: problem,
});
const branches = new Branches(byId("transcript"), {
  api: data.api,
  session: data.session,
  begun,
  show: showBranch,
  failed: (error) => problem(...refusal(error, data.usage)),
  isBusy: () => active !== null,
});

const prompts = new Prompts({
  decide: (id, body) => call("POST", `${data.api}approvals/${id}/decide`, body),
  read: (id) => call("GET", `${data.api}approvals/${id}`),
  decided,
  announce,
  now: serverClock(Number(data.now)),
});

const childPrompts = new ChildPrompts((approval) => prompts.ways(approval));

const turns = new Map(); // id -> {fold, live, model}; `live` is null once the server's own rendering is there
let active = transcript.waitingTurn(); // the turn that has not ended: {id, status?, model?, approval?, isWaiting?}
let isKnown = false; // whether the server said how things stand
let queue = []; // messages that wait: {id, text, held}
let sessionModel = data.model;
let revision = Number(data.revision);
let syncedRevision = "newer" in data ? -1 : revision;
let rewrites = Number(data.rewrites); // grows when the transcript is to be read anew
let syncedRewrites = rewrites;
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
  for (const turn of turns.values()) turn.live?.draw({ demo: isDemo(turn.model || sessionModel), isKnown });
  const asked = pendingApproval();
  const waitsOn = asked ? waitsFor(asked) : "";
  const { fold, live } = turns.get(active?.id) ?? {};
  prompts.show(asked, live);
  childPrompts.show(fold, live);
  const isAsked = Boolean(asked || fold?.below.size);
  drawQueue(byId("queue"), waiting(), { withdraw, deliver, waitsFor: waitsOn });
  composer.waitFor(waitsOn);
  const label = active && workingLabel(active, fold, { stopping, asked: isAsked });
  drawWorking(label, Boolean(isAsked || active?.isWaiting));
  drawTitle(isAsked);
  byId("chat").toggleAttribute("data-busy", active !== null);
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

/** What the active turn waits for a person to decide. The log may know better than the last snapshot. */
function pendingApproval() {
  const approval = active?.approval;
  return approval && !turns.get(active.id)?.fold.settled.has(approval.id) ? approval : null;
}

function decided(approval) {
  turns.get(approval.turn)?.fold.approval(approval);
  for (const { fold } of turns.values()) if (fold.below.has(approval.id)) fold.approvalBelow(approval);
  drawSoon();
}

function isDemo(model) {
  return model.startsWith("demo/");
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
  isKnown = true;
  rewrites = Math.max(rewrites, snapshot.rewrites ?? 0);
  sessionModel = snapshot.model ?? data.model;
  nameSession(snapshot.title);
  const turn = snapshot.active_turn;
  active = turn && !turns.get(turn.id)?.fold.isOver ? turn : null;
  if (active && turns.has(active.id)) turns.get(active.id).model = active.model;
  queue = (snapshot.queued ?? []).map(queuedItem);
  if (revision !== syncedRevision) sync();
}

function queuedItem(message) {
  const { id, author, parts, held } = message;
  const until = message.waiting_for === "limit" ? message.resets_at : ""; // a usage limit holds it back
  return { id, author, text: textOf(parts), files: filesOf(parts), held: Boolean(held), until };
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
  prompts.hear(chunk);
  if (chunk.type === "data-title") nameSession(chunk.data.title);
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
  const article = known ?? userArticle({ clientId: item.clientId, text: item.text, parts: item.files });
  article.removeAttribute("data-pending");
  Object.assign(article.dataset, { id: message.id, seq: message.seq, turn: message.turn });
  if (!known) transcript.insert(article);
  if (turn?.id && !turns.get(turn.id)?.fold.isOver && !turn.finished_at) active ??= turn;
}

function onError(frame) {
  const item = outbox.settle(frame.client_id);
  if (item) {
    transcript.remove(item.clientId);
    composer.restore(item.text, item.files);
  }
  if (stopping?.clientId === frame.client_id) stopping = null;
  problem(...refusal(frame, data.usage));
}

function onState(state) {
  drawConnection(state);
  if (state === "login") location.assign(`${data.login}?next=${encodeURIComponent(location.pathname)}`);
  else if (state === "missing") gone();
}

function gone() {
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
  const [seen, seenRewrites] = [revision, rewrites];
  const isRewritten = rewrites !== syncedRewrites;
  const page = await fetchMessages(isRewritten ? data.messages : `${data.messages}?after=${transcript.settledSeq}`);
  const before = transcript.settledSeq;
  const isLive = (turn) => turn === active?.id;
  draw(); // what came meanwhile is drawn before it may be replaced
  if (isRewritten) {
    // What has ended is the server's to draw: it may not be part of what is shown any more.
    for (const turn of turns.values()) if (turn.fold.isOver) turn.live = null;
    rewrite(page, isLive);
  }
  transcript.adopt(page.articles, isLive);
  draw(); // and what belongs to the messages that came
  for (const turn of turns.values()) if (turn.fold.id !== active?.id) turn.live = null;
  syncedRevision = seen;
  syncedRewrites = seenRewrites;
  if (!isRewritten && page.hasNewer && transcript.settledSeq > before) syncAgain = true;
}

/** Another branch is shown: nothing of the old transcript stays but what the new one has too. */
function rewrite(page, isLive) {
  transcript.keepOnly(page.articles, isLive);
  byId("older").parentElement.hidden = !page.hasOlder;
  const lost = branches.lostText();
  if (lost) composer.restore(lost);
}

byId("older").addEventListener("click", async (event) => {
  event.preventDefault();
  const link = event.currentTarget;
  const first = transcript.root.firstElementChild?.dataset.seq;
  try {
    const page = await fetchMessages(`${data.messages}?before=${first}`);
    scroll.holding(() => {
      transcript.prepend(page.articles);
      link.parentElement.hidden = !page.hasOlder;
    });
  } catch {
    location.assign(link.href);
  }
});

// --- what the person does ------------------------------------------------------------------------

function send(text, files = []) {
  problem("");
  const item = outbox.add(text, files);
  item.behind = active !== null; // it will wait for the answer that is being written
  outbox.keep();
  if (!item.behind) showPending(item);
  transmit(item);
  scroll.toEnd();
  drawSoon();
}

function transmit({ text, files = [], clientId }) {
  const attachments = files.map(fileId);
  socket.send({ type: "send", text, client_id: clientId, ...(attachments.length && { attachments }) });
}

function showPending({ text, files, clientId }) {
  transcript.append(userArticle({ clientId, text, parts: files, pending: true }));
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
    composer.restore(item.text, item.files);
  } catch (error) {
    problem(error.message);
  }
  drawSoon();
}

async function deliver() {
  try {
    await call("POST", `${data.api}sessions/${data.session}/queued/deliver`);
    problem("");
  } catch (error) {
    problem(...refusal(error, data.usage));
  }
}

/** An edit or another answer began: it takes the place of all that is from `article` on. */
function begun(article, { message, turn }) {
  problem("");
  transcript.cutFrom(article, turn.id);
  if (!transcript.find(message.id)) {
    const { id, seq, client_id: clientId, parts } = message;
    transcript.insert(userArticle({ id, seq, turn: turn.id, clientId, text: textOf(parts), parts }));
  }
  if (!turns.get(turn.id)?.fold.isOver && !turn.finished_at) active = turn;
  scroll.toEnd();
  drawSoon();
}

async function showBranch(article, id, direction) {
  const { top } = article.getBoundingClientRect();
  try {
    const session = await call("POST", `${data.api}sessions/${data.session}/branch`, { message: id });
    rewrites = Math.max(rewrites, session.rewrites);
    await sync();
  } catch (error) {
    return problem(error.message);
  }
  problem("");
  const shown = transcript.find(id);
  if (!shown) return undefined;
  draw();
  scroll.pin(shown, top);
  const buttons = [...shown.querySelectorAll("[data-show]:not([disabled])")];
  (buttons.find((button) => button.ariaLabel === direction) ?? buttons[0])?.focus({ preventScroll: true });
  announce(`Version ${shown.querySelector(".which")?.textContent.replace("/", " of ")}.`);
  return undefined;
}

/** Who comes for a decision that was made finds it in view; one that waits is at the end anyway. */
function showAsked() {
  const id = location.hash.match(/^#approval-([0-9a-f-]+)$/)?.[1];
  const card = id && transcript.root.querySelector(`[data-approval="${id}"]`);
  if (!card) return;
  card.open = true;
  scroll.pin(card, byId("scroll").getBoundingClientRect().top + ABOVE_PX);
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
showAsked();
