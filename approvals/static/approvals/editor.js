// The editor of a call's arguments: a form made from the tool's schema, or JSON; checked at every change.

import { button, describe, element, labelled } from "./dom.js";
import { GroupField, textBox } from "./fields.js";
import { isObject, parseExact, printed } from "./json.js";
import { problemsOfArguments } from "./rules.js";

export class Editor {
  /**
   * @param {{arguments: object, schema: object}} request whose arguments are edited
   * @param {() => void} changed called after each change
   */
  constructor(request, changed) {
    this.request = request;
    this.changed = () => {
      this.check();
      changed();
    };
    this.root = element("div", "ask-editor");
    this.place = element("div", "ask-fields");
    this.line = element("p", "field-problem");
    this.line.setAttribute("role", "status");
    this.root.append(this.tabs(), this.place, this.line);
    this.showForm(request.arguments);
    this.check();
  }

  tabs() {
    const row = element("div", "ask-tabs");
    row.setAttribute("role", "group");
    row.ariaLabel = "How to edit";
    this.formTab = button("Form", "quiet-button", () => this.toForm());
    this.jsonTab = button("JSON", "quiet-button", () => this.toJson());
    row.append(this.formTab, this.jsonTab);
    return row;
  }

  press(tab) {
    for (const each of [this.formTab, this.jsonTab]) each.ariaPressed = String(each === tab);
  }

  showForm(value) {
    const about = { name: "arguments", schema: this.request.schema ?? {}, value, path: [], isNeeded: true };
    this.json = null;
    this.form = new GroupField({ ...about, changed: this.changed });
    this.place.replaceChildren(this.form.root);
    this.press(this.formTab);
  }

  toForm() {
    if (this.form) return;
    const { value } = this;
    if (!isObject(value)) return void this.json.focus();
    this.showForm(value);
    this.changed();
  }

  toJson() {
    if (this.json) return;
    const text = printed(this.value ?? this.request.arguments);
    this.form = null;
    this.json = textBox(text, Math.min(16, text.split("\n").length + 1));
    this.json.className = "code";
    this.json.spellcheck = false;
    describe(this.json, this.line);
    this.json.addEventListener("input", this.changed);
    const label = labelled("Arguments as JSON", this.json, "visually-hidden");
    this.place.replaceChildren(label, this.json);
    this.press(this.jsonTab);
    this.changed();
    this.json.focus();
  }

  /** The arguments as edited; undefined while they cannot be read. */
  get value() {
    if (this.form) return [...this.form].some((field) => field.broken) ? undefined : this.form.value;
    try {
      return parseExact(this.json.value);
    } catch {
      return undefined;
    }
  }

  /** Say what is wrong where it is, and remember whether anything is. */
  check() {
    const problems = this.problems();
    this.isFine = problems.length === 0;
    if (!this.form) return void this.say(problems.map(worded));
    const fields = new Map([...this.form].map((field) => [JSON.stringify(field.path), field]));
    const said = new Map([...fields.values()].map((field) => [field, []]));
    for (const problem of problems) said.get(nearest(fields, problem.path)).push(problem);
    const whole = said.get(this.form).map(worded);
    said.delete(this.form);
    for (const [field, found] of said) field.show(found.map((each) => worded(each, field.path)).join(" "));
    return void this.say(whole);
  }

  say(lines) {
    const text = lines.join(" ");
    if (this.line.textContent !== text) this.line.textContent = text;
    this.line.hidden = !text;
  }

  problems() {
    const broken = this.form ? [...this.form].filter((field) => field.broken) : [];
    if (broken.length) return broken.map((field) => ({ path: field.path, message: field.broken }));
    const { value } = this;
    if (value === undefined) return [{ path: [], message: "This is not valid JSON." }];
    return problemsOfArguments(value, this.request);
  }

  focus() {
    this.place.querySelector("textarea, input, select")?.focus();
  }
}

function nearest(fields, path) {
  for (let length = path.length; length > 0; length -= 1) {
    const field = fields.get(JSON.stringify(path.slice(0, length)));
    if (field) return field;
  }
  return fields.get("[]");
}

/** The problem, with the part of its path that its place does not say. */
function worded({ path, message }, shown = []) {
  const rest = path.slice(shown.length).join(".");
  return rest ? `${rest}: ${message}` : message;
}
