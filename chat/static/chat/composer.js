// The box one writes in, the draft it keeps, and the messages that no server has confirmed yet.

function stored(storage, key) {
  try {
    return storage.getItem(key);
  } catch {
    return null; // a browser may refuse storage; the page works without
  }
}

function store(storage, key, value) {
  try {
    if (value) storage.setItem(key, value);
    else storage.removeItem(key);
  } catch {
    // as above
  }
}

/** Grow the box with its text, submit on Enter. Browsers that size it by themselves need no help. */
export function prepareBox(box, form) {
  const grow = () => {
    if (CSS.supports("field-sizing", "content")) return;
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
  };
  box.addEventListener("input", grow);
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  grow();
  return grow;
}

export class Composer {
  attachments = null; // where files can go along

  constructor(form, sessionId, onSend) {
    this.box = form.querySelector("textarea");
    this.button = form.querySelector(".send");
    this.key = `holdfast:draft:${sessionId}`;
    this.grow = prepareBox(this.box, form);
    if (!this.box.value) this.text = stored(localStorage, this.key) ?? "";
    this.box.addEventListener("input", () => this.changed());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.text.trim();
      if (!text || this.attachments?.isBusy) return;
      this.text = "";
      onSend(text, this.attachments?.send());
    });
    this.changed();
  }

  get text() {
    return this.box.value;
  }

  set text(value) {
    this.box.value = value;
    this.grow();
    this.changed();
  }

  /** Say what a message would wait for, if for anything. */
  waitFor(what) {
    const placeholder = what ? `Waits for ${what}` : "Message Holdfast";
    if (this.box.placeholder !== placeholder) this.box.placeholder = placeholder;
  }

  /** Bring back a text that was not accepted, in front of what was typed since, and its files. */
  restore(text, files = []) {
    this.attachments?.restore(files);
    this.text = this.text.trim() ? `${text}\n\n${this.text}` : text;
    this.box.focus();
  }

  changed() {
    this.button.disabled = !this.text.trim() || Boolean(this.attachments?.isBusy);
    store(localStorage, this.key, this.text);
  }
}

/** Messages sent and not yet acknowledged. They survive a reload of this tab and go out again, under the same name. */
export class Outbox {
  constructor(sessionId) {
    this.key = `holdfast:outbox:${sessionId}`;
    this.items = JSON.parse(stored(sessionStorage, this.key) ?? "[]"); // {clientId, text, files}
  }

  /** @param files parts of the message */
  add(text, files) {
    const item = { clientId: newId(), text, files };
    this.items.push(item);
    this.keep();
    return item;
  }

  /** Take out what was acknowledged or refused. */
  settle(clientId) {
    const item = this.items.find((other) => other.clientId === clientId);
    this.items = this.items.filter((other) => other !== item);
    this.keep();
    return item;
  }

  keep() {
    store(sessionStorage, this.key, this.items.length ? JSON.stringify(this.items) : "");
  }
}

/** A random id; `randomUUID` is missing on plain HTTP to another machine. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const FIRST = "holdfast:first";

/** Keep a text for the session page that opens next. */
export function keepFirst(text) {
  store(sessionStorage, FIRST, text);
}

/** Take the text that the page of a new chat left, once. */
export function takeFirst() {
  const text = stored(sessionStorage, FIRST);
  store(sessionStorage, FIRST, "");
  return text;
}
