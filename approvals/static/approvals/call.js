// One call that somebody is asked about: what it would do, and what shall become of it.

import { describe, element, labelled } from "./dom.js";
import { Editor } from "./editor.js";
import { textBox } from "./fields.js";
import { shownText } from "./hidden.js";
import { printed } from "./json.js";
import { REASON_MAX, TEXT_MAX, problemOfText, written } from "./rules.js";

const CHOICES = { approve: "Approve", edit: "Edit", respond: "Respond", reject: "Reject" };

/** The decisions that this page knows, of those that are allowed, in the order in which they are offered. */
export const offered = (request) => Object.keys(CHOICES).filter((type) => request.allowed_decisions.includes(type));

/** Names and values of arguments: texts as they are, all else as JSON. */
export function argumentList(given) {
  const list = element("dl", "ask-arguments");
  for (const [name, value] of Object.entries(given ?? {})) {
    const shown = element("dd");
    shown.append(...shownText(typeof value === "string" ? value : printed(value)));
    shown.tabIndex = 0; // long ones scroll
    const term = element("dt");
    term.append(...shownText(name));
    list.append(term, shown);
  }
  return list;
}

/** A box for a text that goes with a decision. Enter submits, Shift+Enter begins a line. */
export class Words {
  constructor({ label, most, needed, changed, submit }) {
    Object.assign(this, { most, needed });
    this.root = element("div", "field");
    this.box = textBox("");
    this.line = element("p", "field-problem");
    describe(this.box, this.line);
    this.box.addEventListener("input", () => {
      const problem = this.box.value && problemOfText(this.box.value, { most, needed: false });
      this.line.textContent = problem;
      changed();
    });
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit();
    });
    this.root.append(labelled(label, this.box), this.box, this.line);
  }

  get text() {
    return this.box.value;
  }

  get isFine() {
    return !problemOfText(this.text, this);
  }
}

export class Call {
  /**
   * @param {object} request of an approval
   * @param {{withChoice: boolean, changed: () => void, submit: () => void}} options
   *   `withChoice`: it brings the choice itself, one of many in a batch
   */
  constructor(request, { withChoice, changed, submit }) {
    Object.assign(this, { request, changed, submit });
    this.id = request.tool_call_id;
    this.type = null;
    this.root = element("fieldset", "ask-call");
    this.root.ariaLabel = request.name;
    this.root.append(element("legend", "ask-tool", request.name));
    if (request.description) this.root.append(element("p", "ask-about", request.description));
    if (request.reason) this.root.append(element("p", "ask-reason", request.reason));
    this.given = this.root.appendChild(argumentList(request.arguments));
    if (withChoice) this.root.append(this.choice());
    this.panel = this.root.appendChild(element("div", "ask-panel"));
    this.panel.hidden = true;
  }

  choice() {
    const group = element("fieldset", "ask-choice");
    group.append(element("legend", "visually-hidden", `Decision about ${this.request.name}`));
    this.radios = offered(this.request).map((type) => {
      const radio = element("input");
      radio.type = "radio";
      radio.name = `decision-${this.id}`;
      radio.value = type;
      radio.addEventListener("change", () => {
        this.choose(type);
        this.changed();
      });
      const label = labelled(CHOICES[type], radio);
      group.append(radio, label);
      return radio;
    });
    return group;
  }

  /** Choose a decision, null for none; what it needs is asked for below. */
  choose(type) {
    this.type = type;
    for (const radio of this.radios ?? []) radio.checked = radio.value === type;
    const inside = type && this.inside(type);
    this.panel.replaceChildren(...(inside ? [inside.root] : []));
    this.panel.hidden = !inside;
    this.given.hidden = type === "edit";
  }

  inside(type) {
    if (type === "edit") return (this.editor ??= new Editor(this.request, this.changed));
    const words = { changed: this.changed, submit: this.submit };
    if (type === "reject") {
      return (this.reason ??= new Words({ ...words, label: "Reason, if you like", most: REASON_MAX, needed: false }));
    }
    if (type !== "respond") return null;
    const label = "What the agent gets instead; the tool does not run";
    return (this.response ??= new Words({ ...words, label, most: TEXT_MAX, needed: true }));
  }

  focusPanel() {
    this.panel.querySelector(".ask-fields :is(textarea, input, select), textarea")?.focus();
  }

  /** What was decided, as the server wants it; null while something is missing. */
  get decision() {
    const decision = { tool_call_id: this.id, type: this.type };
    switch (this.type) {
      case "approve":
        return decision;
      case "edit":
        return this.editor.isFine ? { ...decision, arguments: this.editor.value } : null;
      case "reject":
        if (!this.reason.isFine) return null;
        return written(this.reason.text) ? { ...decision, reason: this.reason.text } : decision;
      case "respond":
        return this.response.isFine ? { ...decision, text: this.response.text } : null;
      default:
        return null;
    }
  }
}
