// For how long an approval is remembered, where that is offered.

import { element, labelled } from "./dom.js";

const WORDS = { once: "just this once", session: "for this chat", always: "always" };

export class ScopeChoice {
  /** @param {string[]} scopes those that the approval offers */
  constructor(scopes) {
    this.scopes = scopes.filter((scope) => WORDS[scope]);
    this.root = element("div", "ask-scope");
    this.select = element("select");
    for (const scope of this.scopes) {
      const option = element("option", "", WORDS[scope]);
      option.value = scope;
      this.select.append(option);
    }
    this.hint = element("p", "ask-hint");
    this.root.append(labelled("Allow", this.select), this.select, this.hint);
    this.select.addEventListener("change", () => this.word());
    this.tools = [];
  }

  /** Show the choice for these tools; not at all without. */
  show(tools) {
    this.tools = [...new Set(tools)];
    this.root.hidden = this.scopes.length < 2 || tools.length === 0;
    this.word();
  }

  get value() {
    return this.select.value || "once";
  }

  word() {
    const runs = `${this.tools.join(", ")} will run without asking`;
    const hints = { session: `${runs} in this chat.`, always: `${runs} in all your chats.` };
    const hint = hints[this.value] ?? "";
    if (this.hint.textContent !== hint) this.hint.textContent = hint;
    this.hint.hidden = !hint;
  }
}
