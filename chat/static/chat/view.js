// The transcript's articles and the scroll position around them.

import { timeOf } from "../approvals/outcome.js";
import { finishDrawn, element } from "./parts.js";

const AT_END_PX = 48;

/** The list of messages. Every message is there once, found by its id or by what its sender called it. */
export class Transcript {
  constructor(root) {
    this.root = root;
    this.settledSeq = this.lastSeq();
    finishDrawn(root);
    root.addEventListener("click", copyCode);
  }

  lastSeq() {
    return Math.max(0, ...[...this.root.children].map((article) => Number(article.dataset.seq ?? 0)));
  }

  find(id, clientId) {
    return [...this.root.children].find(
      (article) => (id && article.dataset.id === id) || (clientId && article.dataset.clientId === clientId),
    );
  }

  /** The turn that waited for a decision when the server drew the page. */
  waitingTurn() {
    const article = this.root.querySelector(":scope > [data-upto]");
    return article && { id: article.dataset.turn, isWaiting: true };
  }

  /** The last message of a person in a turn. */
  questionOf(turn) {
    return [...this.root.children].findLast((article) => article.matches(".user") && article.dataset.turn === turn);
  }

  append(article) {
    if (this.root.lastElementChild !== article) this.root.append(article);
  }

  remove(clientId) {
    this.find(null, clientId)?.remove();
  }

  get isEmpty() {
    return this.root.childElementCount === 0;
  }

  /**
   * Put in messages that the server drew, oldest first.
   * @param {(turnId: string) => boolean} isLive whether this page draws the turn itself right now
   */
  adopt(articles, isLive) {
    let whole = true;
    for (const article of articles) {
      const known = this.find(article.dataset.id, article.dataset.clientId);
      if (known?.hasAttribute("data-live") && isLive(article.dataset.turn)) {
        whole = false; // asked for again when the turn has ended
        continue;
      }
      if (known) this.replace(known, article);
      else this.insert(article);
      if (whole) this.settledSeq = Math.max(this.settledSeq, Number(article.dataset.seq));
    }
    this.sort();
  }

  replace(known, article) {
    finishDrawn(article);
    known.removeAttribute("data-live");
    known.removeAttribute("data-pending");
    known.removeAttribute("data-upto");
    for (const { name, value } of article.attributes) known.setAttribute(name, value);
    if ("editing" in known.dataset) return; // not under the person's hand
    if (getSelection()?.type === "Range" && getSelection().containsNode(known, true)) return;
    const open = [...known.querySelectorAll("details")].map((details) => details.open);
    article.querySelectorAll("details").forEach((details, index) => (details.open = open[index] ?? false));
    if (known.innerHTML !== article.innerHTML) known.replaceChildren(...article.childNodes);
  }

  insert(article) {
    finishDrawn(article);
    const seq = Number(article.dataset.seq);
    const next = [...this.root.children].find(
      (other) => Number(other.dataset.seq) > seq || other.matches("[data-live], [data-pending]"),
    );
    this.root.insertBefore(article, next ?? null);
  }

  /** Articles that got their place in the transcript only at their end may stand in the wrong one. */
  sort() {
    const settled = [...this.root.children].filter((article) => article.dataset.seq);
    const inOrder = settled.every((article, i) => !i || Number(settled[i - 1].dataset.seq) < Number(article.dataset.seq));
    if (inOrder) return;
    const rest = [...this.root.children].filter((article) => !article.dataset.seq);
    settled.sort((a, b) => a.dataset.seq - b.dataset.seq);
    this.root.append(...settled, ...rest);
  }

  /** Remove this article and those after it, but not what belongs to a turn. */
  cutFrom(article, turn) {
    if (article?.parentNode !== this.root) return;
    const children = [...this.root.children];
    for (const each of children.slice(children.indexOf(article))) if (each.dataset.turn !== turn) each.remove();
    this.settledSeq = this.lastSeq();
  }

  /** The server shows these now: remove all others but those that it does not know of, or does not list yet. */
  keepOnly(articles, isLive) {
    const ids = new Set(articles.map((article) => article.dataset.id));
    for (const each of [...this.root.children]) {
      const isUnlisted = "pending" in each.dataset || ("live" in each.dataset && isLive(each.dataset.turn));
      if (!isUnlisted && !ids.has(each.dataset.id)) each.remove();
    }
    this.settledSeq = 0;
  }

  prepend(articles) {
    articles.forEach(finishDrawn);
    this.root.prepend(...articles.filter((article) => !this.find(article.dataset.id)));
  }
}

async function copyCode(event) {
  const button = event.target.closest(".copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

/** Keeps the end in sight for those who are there, and nobody else. */
export class Scroll {
  constructor(box, jump) {
    this.box = box;
    this.jump = jump;
    this.following = true;
    this.top = 0;
    box.addEventListener("scroll", () => this.look(), { passive: true });
    jump.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.settle()).observe(box);
    new ResizeObserver(() => this.settle()).observe(box.firstElementChild);
  }

  /** Only a person scrolls up; being left behind by new content is not leaving. */
  look() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    if (scrollHeight - scrollTop - clientHeight < AT_END_PX) this.following = true;
    else if (scrollTop < this.top) this.following = false;
    this.top = scrollTop;
    this.jump.hidden = this.following;
  }

  /** After something changed: go along, or tell that there is more. */
  settle() {
    if (this.following) this.box.scrollTop = this.box.scrollHeight;
    else this.look();
  }

  toEnd() {
    this.following = true;
    this.jump.hidden = true;
    this.box.scrollTop = this.box.scrollHeight;
  }

  /** Have `element` where it was: `top` pixels from the window's edge. */
  pin(element, top) {
    this.box.scrollTop += element.getBoundingClientRect().top - top;
    this.following = false;
    this.look();
  }

  /** Run `change`, which adds something above, and stay at what is being read. */
  holding(change) {
    const fromEnd = this.box.scrollHeight - this.box.scrollTop;
    change();
    this.box.scrollTop = this.box.scrollHeight - fromEnd;
  }
}

const drawnQueues = new WeakMap();

/** The messages that wait, each with a way to take it back. What did not change stays: somebody may be pressing it. */
export function drawQueue(root, items, { withdraw, deliver, waitsFor = "" }) {
  const wanted = JSON.stringify([items, waitsFor]);
  if (drawnQueues.get(root) === wanted) return;
  drawnQueues.set(root, wanted);
  root.replaceChildren(...items.map((item) => queuedRow(item, withdraw, waitsFor)));
  root.hidden = items.length === 0;
  if (!items.some((item) => item.held)) return;
  const now = element("button", "button", "Send now");
  now.type = "button";
  now.addEventListener("click", deliver);
  root.firstElementChild.append(now);
}

function queuedRow(item, withdraw, waitsFor) {
  const row = element("div", "queued");
  const what = element("span", "what", item.text);
  if (item.author) what.prepend(element("bdi", "author", item.author), " ");
  const why = element("span", "why");
  why.append(...waits(item, waitsFor));
  row.append(what, why);
  if (item.id) {
    const button = element("button", "button quiet-button", "Withdraw");
    button.type = "button";
    button.addEventListener("click", () => withdraw(item));
    row.append(button);
  }
  return row;
}

function waits({ id, held, until }, waitsFor) {
  if (!id) return ["sending…"];
  if (until) return ["your usage limit is reached until ", timeOf(until)];
  if (held) return ["held back"];
  return [waitsFor ? `waits for ${waitsFor}` : "next"];
}
