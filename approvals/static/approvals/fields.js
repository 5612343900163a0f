// The fields of the form for a tool's arguments, one class for each kind of value.

import { button, describe, element, labelled } from "./dom.js";
import { chip, holdsHidden, piecesOf } from "./hidden.js";
import { isNumber, isObject, isSame, parseExact, printed } from "./json.js";

const DEEPEST = 1;

/** What all fields have: `root`, `value` (undefined: left out), `broken` (what cannot be read as a value), `show`. */
class Field {
  constructor({ name, schema, path, changed }, tag = "div") {
    Object.assign(this, { name, path, changed });
    this.root = element(tag, "field");
    this.line = element("p", "field-problem");
    this.line.hidden = true;
    this.hint = schema?.description ? element("p", "field-hint", schema.description) : null;
  }

  get broken() {
    return "";
  }

  /** Finish with a control: its label before it, what is said about it behind. */
  around(control) {
    this.control = control;
    describe(control, this.line);
    control.addEventListener("input", this.changed);
    this.root.append(labelled(this.name, control), ...(this.hint ? [this.hint] : []), control, this.line);
  }

  show(message) {
    this.line.textContent = message;
    this.line.hidden = !message;
    this.control?.toggleAttribute("aria-invalid", Boolean(message));
  }
}

export function textBox(value, rows = 1) {
  const box = element("textarea");
  box.rows = rows;
  box.value = value;
  return box;
}

class TextField extends Field {
  constructor(about) {
    super(about);
    this.isGiven = about.value !== undefined;
    this.around(textBox(about.value ?? ""));
  }

  get value() {
    return this.isGiven || this.control.value ? this.control.value : undefined;
  }
}

/** A text with hidden values in it: what is between them can be edited, they themselves only be replaced. */
class SealedField extends Field {
  constructor(about) {
    super(about, "fieldset");
    this.pieces = piecesOf(about.value);
    this.place = element("div", "sealed");
    this.root.append(element("legend", "", about.name), ...(this.hint ? [this.hint] : []), this.place, this.line);
    this.draw();
  }

  get value() {
    return this.pieces.join("");
  }

  draw() {
    const hasHidden = this.pieces.length > 1;
    const shown = this.pieces.map((piece, index) => (index % 2 ? this.locked(index) : piece || !hasHidden ? this.box(index) : null));
    this.place.replaceChildren(...shown.filter(Boolean));
  }

  box(index) {
    const box = textBox(this.pieces[index]);
    box.ariaLabel = this.pieces.length > 1 ? `${this.name}, part ${index / 2 + 1}` : this.name;
    describe(box, this.line);
    box.addEventListener("input", () => {
      this.pieces[index] = box.value;
      this.changed();
    });
    return box;
  }

  locked(index) {
    const made = element("span", "locked");
    const replace = button("Replace", "quiet-button", () => this.replace(index));
    replace.ariaLabel = `Replace the hidden value in ${this.name}`;
    made.append(chip(), replace);
    return made;
  }

  replace(index) {
    this.pieces.splice(index - 1, 3, this.pieces[index - 1] + this.pieces[index + 1]);
    this.draw();
    this.place.querySelectorAll("textarea")[(index - 1) / 2]?.focus();
    this.changed();
  }
}

class ChoiceField extends Field {
  constructor(about) {
    super(about);
    this.choices = [...(about.isNeeded ? [] : [undefined]), ...about.schema.enum];
    const select = element("select");
    for (const choice of this.choices) select.append(element("option", "", word(choice)));
    select.selectedIndex = this.choices.findIndex((choice) => isSame(choice, about.value));
    this.around(select);
  }

  get value() {
    return this.choices[this.control.selectedIndex];
  }
}

const word = (choice) => (choice === undefined ? "(left out)" : typeof choice === "string" ? choice : JSON.stringify(choice));

class CheckField extends Field {
  constructor(about) {
    super(about);
    this.isGiven = about.value !== undefined || about.isNeeded;
    const box = element("input");
    box.type = "checkbox";
    box.checked = about.value === true;
    this.around(box);
    this.root.classList.add("check");
    box.addEventListener("change", () => (this.isGiven = true), { capture: true });
  }

  get value() {
    return this.isGiven || this.control.checked ? this.control.checked : undefined;
  }
}

class NumberField extends Field {
  constructor(about) {
    super(about);
    const box = element("input");
    box.inputMode = "decimal";
    box.autocomplete = "off";
    box.value = about.value === undefined ? "" : JSON.stringify(about.value);
    this.around(box);
  }

  get value() {
    const text = this.control.value.trim();
    try {
      return text ? parseExact(text) : undefined;
    } catch {
      return text;
    }
  }

  get broken() {
    return this.value === undefined || isNumber(this.value) ? "" : "Must be a number.";
  }
}

class ListField extends Field {
  constructor(about) {
    super(about, "fieldset");
    this.isGiven = about.value !== undefined;
    this.rows = element("div", "rows");
    this.add = button("Add", "quiet-button", () => {
      this.row("").focus();
      this.changed();
    });
    this.add.ariaLabel = `Add to ${about.name}`;
    this.root.append(element("legend", "", about.name), ...(this.hint ? [this.hint] : []), this.rows, this.add, this.line);
    (about.value ?? []).forEach((text) => this.row(text));
  }

  row(text) {
    const row = element("div", "row");
    const box = textBox(text);
    box.ariaLabel = `${this.name}, entry ${this.rows.childElementCount + 1}`;
    describe(box, this.line);
    box.addEventListener("input", this.changed);
    const remove = button("Remove", "quiet-button", () => {
      row.remove();
      this.add.focus();
      this.changed();
    });
    row.append(box, remove);
    this.rows.append(row);
    return box;
  }

  get value() {
    const texts = [...this.rows.querySelectorAll("textarea")].map((box) => box.value);
    return texts.length || this.isGiven ? texts : undefined;
  }
}

class JsonField extends Field {
  constructor(about) {
    super(about);
    const text = about.value === undefined ? "" : printed(about.value);
    const box = textBox(text, Math.min(8, text.split("\n").length));
    box.className = "code";
    box.spellcheck = false;
    this.around(box);
  }

  get value() {
    const text = this.control.value.trim();
    try {
      return text ? parseExact(text) : undefined;
    } catch {
      return undefined;
    }
  }

  get broken() {
    const isRead = !this.control.value.trim() || this.value !== undefined;
    return isRead ? "" : "This is not valid JSON.";
  }
}

/** What an object has under a name itself: an argument may be called "constructor". */
const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : undefined);

/** An object: a field for each of its members, those that the schema names first. */
export class GroupField extends Field {
  constructor(about, depth = 0) {
    super(about, depth ? "fieldset" : "div");
    if (depth) this.root.append(element("legend", "", about.name), ...(this.hint ? [this.hint] : []));
    this.isGiven = about.value !== undefined || about.isNeeded;
    const { schema, value = {} } = about;
    const names = new Set([...Object.keys(schema.properties ?? {}), ...Object.keys(value)]);
    this.fields = [...names].map((name) => {
      const member = { name, schema: own(schema.properties, name) ?? {}, value: own(value, name), path: [...about.path, name] };
      return fieldFor({ ...member, isNeeded: (schema.required ?? []).includes(name), changed: about.changed }, depth);
    });
    this.root.append(...this.fields.map((field) => field.root), this.line);
  }

  get value() {
    const members = this.fields.map((field) => [field.name, field.value]).filter(([, value]) => value !== undefined);
    return members.length || this.isGiven ? Object.fromEntries(members) : undefined;
  }

  /** This field and those inside it. */
  *[Symbol.iterator]() {
    yield this;
    for (const field of this.fields) yield* field instanceof GroupField ? field : [field];
  }
}

function fieldFor(about, depth) {
  const { schema, value } = about;
  const has = (type, fits) => schema.type === type && (value === undefined || fits(value));
  if (typeof value === "string" && holdsHidden(value)) return new SealedField(about);
  const isChoice = Array.isArray(schema.enum) && (value === undefined || schema.enum.some((each) => isSame(each, value)));
  if (isChoice && schema.enum.every((each) => !isObject(each))) return new ChoiceField(about);
  if (has("string", (it) => typeof it === "string")) return new TextField(about);
  if (has("boolean", (it) => typeof it === "boolean")) return new CheckField(about);
  if (has("number", isNumber) || has("integer", isNumber)) return new NumberField(about);
  const isPlain = (list) => Array.isArray(list) && list.every((item) => typeof item === "string" && !holdsHidden(item));
  if (schema.items?.type === "string" && !schema.items.enum && has("array", isPlain)) return new ListField(about);
  if (depth < DEEPEST && schema.properties && has("object", isObject)) return new GroupField(about, depth + 1);
  return new JsonField(about);
}
