// Draws a turn that is being written, message by message.

import { drawn, drawnFile, element, foot } from "./parts.js";

// Worded like STOPPED in chat/transcript.py.
const STOPPED = {
  stopped: "Stopped.",
  approval_expired: "Stopped: nobody answered the approval in time.",
  parent_stopped: "Stopped together with the chat that started it.",
  operator: "Stopped by the operator.",
};
// Worded like CUT there, and like DECLINED in copilot/agent/loop.py.
const CUT = {
  "length": "Cut here: the answer reached the limit of its length.",
  "content-filter": "Ended here: the model declined to go on.",
};
const DECLINED = "The model declined to answer this.";

/** A message of a person, as the template draws it. */
export function userArticle({ id, seq, turn, clientId, author, text, parts, pending }) {
  const article = element("article", "message user");
  const files = filesOf(parts).map(drawnFile);
  article.append(...namedBy(author), element("div", "part said", text), ...files, foot("user"));
  if (id) article.dataset.id = id;
  if (seq) article.dataset.seq = seq;
  if (turn) article.dataset.turn = turn;
  if (clientId) article.dataset.clientId = clientId;
  if (pending) article.dataset.pending = "";
  return article;
}

/** The heading of a message of a person; with a name where a bot says who it is. */
function namedBy(author) {
  const heading = element("h2", "visually-hidden", author ? "" : "You");
  if (!author) return [heading];
  const byline = element("p", "byline");
  heading.append(element("bdi", "", author));
  byline.append(element("bdi", "author", author));
  return [heading, byline];
}

export function textOf(parts) {
  return (parts ?? []).filter((part) => part.type === "text").map((part) => part.text).join("");
}

export function filesOf(parts) {
  return (parts ?? []).filter((part) => part.type === "file");
}

/** The articles of one turn. `transcript` finds and places articles; `fold` is what they show. */
export class LiveTurn {
  constructor(fold, transcript) {
    this.fold = fold;
    this.transcript = transcript;
    this.epoch = fold.epoch;
    this.articles = new Map(); // message -> {article, parts: [{part, version, view}], end}
  }

  /** @param {{demo: boolean, isKnown: boolean}} about `isKnown`: it is known whether the turn waits for somebody */
  draw({ demo, isKnown }) {
    this.isKnown = isKnown;
    if (this.epoch !== this.fold.epoch) this.forget();
    for (const message of this.fold.messages) {
      if (message.role === "user") this.drawUser(message);
      else this.drawAnswer(message, demo);
    }
    if (this.fold.isOver) this.drawEnd();
  }

  forget() {
    for (const { article, stored, parts } of this.articles.values()) if (parts && !stored) article.remove();
    this.articles.clear();
    this.epoch = this.fold.epoch;
  }

  drawUser(message) {
    if (this.articles.has(message)) return;
    const { id, seq, client_id: clientId, author, parts } = message.message;
    const known = this.transcript.find(id, clientId);
    const said = { id, seq, turn: this.fold.id, clientId, author, text: textOf(parts), parts };
    const article = known ?? userArticle(said);
    article.removeAttribute("data-pending");
    this.articles.set(message, { article });
    this.transcript.append(article);
  }

  drawAnswer(message, demo) {
    let entry = this.articles.get(message);
    if (!entry) {
      const found = message.id && this.transcript.find(message.id);
      const stored = found && !("upto" in found.dataset) && found;
      if (found && !stored && !this.hasAll(found)) return;
      const saysNothing = !message.parts.length && (!this.fold.isOver || this.fold.aborted);
      if (!stored && saysNothing) return;
      entry = { article: stored || this.newArticle(message, found), parts: [], stored: Boolean(stored) };
      this.articles.set(message, entry);
    }
    if (entry.stored) return; // the server drew it: it was finished before this page came
    if (message.id) entry.article.dataset.id = message.id;
    this.drawByline(entry, demo);
    message.parts.forEach((part, index) => this.drawPart(entry, part, index));
  }

  /** The server drew a turn that waits, up to an event: it stays until all of that is here too. */
  hasAll({ dataset }) {
    return this.isKnown && this.fold.lastSeq >= Number(dataset.upto);
  }

  newArticle(message, replaced) {
    const article = element("article", "message assistant");
    article.append(element("h2", "visually-hidden", "Holdfast"));
    article.dataset.live = "";
    article.dataset.turn = this.fold.id;
    if (message.id) article.dataset.id = message.id;
    if (replaced) replaced.replaceWith(article);
    else this.transcript.append(article);
    return article;
  }

  /** What draws a call of this turn, once it is there. */
  toolView(call) {
    for (const { parts } of this.articles.values()) {
      const shown = parts?.find(({ part }) => part.toolCallId === call);
      if (shown) return shown.view;
    }
    return null;
  }

  drawByline(entry, demo) {
    if (demo === Boolean(entry.byline)) return;
    entry.byline?.remove(); // the turn's model was not known when it was drawn
    entry.byline = null;
    if (!demo) return;
    entry.byline = element("p", "byline");
    entry.byline.append(element("span", "tag", "demo"));
    entry.article.querySelector("h2").after(entry.byline);
  }

  drawPart(entry, part, index) {
    let shown = entry.parts[index];
    if (!shown) {
      shown = { part, version: -1, view: drawn(part) };
      entry.parts.push(shown);
      entry.article.append(shown.view.root);
    }
    if (shown.version === part.version) return;
    shown.view.update(part);
    shown.version = part.version;
  }

  /** Below the answer, or below the question when nothing was said. */
  drawEnd() {
    for (const { article, parts, stored } of this.articles.values()) {
      if (parts && !stored && !article.querySelector(".foot")) article.append(foot("assistant"));
    }
    const end = this.ending();
    if (!end) return;
    const answer = [...this.articles.values()].findLast((entry) => entry.parts);
    const article = answer?.article ?? this.transcript.questionOf(this.fold.id);
    if (article && !answer?.stored && !article.querySelector(".turn-stopped, .turn-error")) article.querySelector(".foot").before(end);
  }

  ending() {
    const { aborted, failure } = this.fold;
    if (aborted) return element("p", "turn-stopped", STOPPED[aborted] ?? "Stopped.");
    if (this.fold.ended === "finish") return this.earlyEnd();
    if (this.fold.ended !== "error") return null;
    const line = element("p", "turn-error", [failure.detail, failure.hint].filter(Boolean).join(" ") + " ");
    line.append(element("code", "", failure.code));
    return line;
  }

  earlyEnd() {
    const said = this.fold.messages.at(-1)?.parts.at(-1);
    const line = CUT[this.fold.finishReason];
    return line && !said?.isSentence?.(DECLINED) ? element("p", "turn-stopped", line) : null;
  }
}
