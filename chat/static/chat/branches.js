// Editing a message, asking for another answer, and going between the versions of a message.

import { call } from "./api.js";
import { newId, prepareBox } from "./composer.js";
import { element } from "./parts.js";

/**
 * What the buttons below the messages do.
 * `begun(article, answer)`: a turn began in the place of what is from `article` on; `show(article, id)`: another
 * version is wanted; `failed(error)`; `isBusy()`: whether a turn runs, which lets nothing be rewritten.
 */
export class Branches {
  constructor(root, { api, session, begun, show, failed, isBusy }) {
    Object.assign(this, { root, api, session, begun, show, failed, isBusy });
    this.editor = null;
    this.asked = null; // {after, clientId}: asking again, after an error, is the same request
    root.addEventListener("click", (event) => this.pressed(event));
  }

  pressed(event) {
    const button = event.target.closest(".foot-button");
    const article = button?.closest(".message");
    if (!article?.dataset.id || this.isBusy()) return;
    if (button.dataset.show) this.show(article, button.dataset.show, button.ariaLabel);
    else if (button.dataset.do === "edit") this.edit(article);
    else if (button.dataset.do === "again") this.again(button);
  }

  edit(article) {
    this.editor?.close();
    this.editor = new Editor(article, {
      save: (request) => this.save(article, request),
      closed: () => (this.editor = null),
    });
  }

  async save(article, { text, clientId }) {
    const path = `${this.api}messages/${article.dataset.id}/edit`;
    const answer = await this.ask(path, { text, client_id: clientId });
    if (!answer) return false;
    this.editor?.close();
    this.begun(article, answer);
    return true;
  }

  async again(button) {
    const question = [...this.root.children].findLast((article) => article.matches(".user[data-id]"));
    const after = this.root.lastElementChild?.dataset.id;
    if (this.asked?.after !== after) this.asked = { after, clientId: newId() };
    button.disabled = true;
    const path = `${this.api}sessions/${this.session}/regenerate`;
    const answer = await this.ask(path, { client_id: this.asked.clientId });
    button.disabled = false;
    if (answer) this.begun(question?.nextElementSibling, answer);
  }

  async ask(path, body) {
    try {
      return await call("POST", path, body);
    } catch (error) {
      this.failed(error);
      return null;
    }
  }

  /** The text that was being written when its message went, if there is one. */
  lostText() {
    if (!this.editor || this.editor.form.isConnected) return "";
    const { text } = this.editor;
    this.editor = null;
    return text;
  }
}

/** A message as a box to write in, in its own place. */
class Editor {
  constructor(article, { save, closed }) {
    this.article = article;
    this.closed = closed;
    this.form = element("form", "editor");
    this.box = this.form.appendChild(element("textarea"));
    this.box.value = [...article.querySelectorAll(".said")].map((said) => said.textContent).join("");
    this.box.ariaLabel = "Edit your message";
    this.form.append(this.buttons());
    this.form.addEventListener("submit", (event) => this.submit(event, save));
    this.form.addEventListener("keydown", (event) => event.key === "Escape" && !event.isComposing && this.close());
    article.append(this.form);
    article.dataset.editing = "";
    prepareBox(this.box, this.form);
    this.box.focus();
  }

  buttons() {
    const row = element("div", "editor-buttons");
    const cancel = row.appendChild(element("button", "button quiet-button", "Cancel"));
    cancel.type = "button";
    cancel.addEventListener("click", () => this.close());
    this.send = row.appendChild(element("button", "button primary", "Send"));
    return row;
  }

  get text() {
    return this.box.value.trim();
  }

  async submit(event, save) {
    event.preventDefault();
    if (!this.text || this.send.disabled) return;
    if (this.sent?.text !== this.text) this.sent = { text: this.text, clientId: newId() };
    this.send.disabled = true;
    if (!(await save(this.sent))) this.send.disabled = false;
  }

  close() {
    this.form.remove();
    this.article.removeAttribute("data-editing");
    this.article.querySelector("[data-do=edit]")?.focus();
    this.closed();
  }
}
