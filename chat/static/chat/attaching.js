// The files that are to go with the next message: chosen, dropped or pasted, uploaded at once, shown above the box.

import { CallError, call } from "./api.js";
import { element } from "./parts.js";

// As in copilot/files.py.
const SIZE_MAX = 20 * 1024 * 1024;
const FILES_MAX = 10;

export class Attachments {
  /**
   * @param form the composer
   * @param {{api: string, session: string, onChange: () => void, onProblem: (text: string) => void}} about
   */
  constructor(form, about) {
    this.about = about;
    this.items = []; // {name, part}; without `part` until it is uploaded
    this.list = form.querySelector(".attached");
    const input = form.querySelector("input[type=file]");
    form.querySelector(".attach").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...input.files]);
      input.value = ""; // the same file can be chosen again
    });
    form.addEventListener("paste", (event) => this.take(event, event.clipboardData));
    form.addEventListener("dragover", (event) => event.preventDefault());
    form.addEventListener("drop", (event) => this.take(event, event.dataTransfer));
  }

  /** Whether a file is still on its way. */
  get isBusy() {
    return this.items.some((item) => !item.part);
  }

  take(event, { files }) {
    if (!files.length) return;
    event.preventDefault();
    this.add([...files]);
  }

  add(files) {
    this.about.onProblem("");
    for (const file of files) {
      if (this.items.length >= FILES_MAX) return void this.about.onProblem(`At most ${FILES_MAX} files go with a message.`);
      if (file.size > SIZE_MAX) this.about.onProblem(`${file.name} is larger than 20 MiB.`);
      else this.upload(file);
    }
  }

  async upload(file) {
    const item = { name: file.name };
    this.items.push(item);
    this.draw();
    const form = new FormData();
    form.append("session", this.about.session);
    form.append("file", file);
    try {
      const { id, name, type } = await call("POST", `${this.about.api}files`, form);
      item.part = { type: "file", mediaType: type, filename: name, url: `${this.about.api}files/${id}` };
    } catch (error) {
      this.items = this.items.filter((other) => other !== item);
      this.about.onProblem(error instanceof CallError ? `${file.name}: ${error.message}` : "The file could not be read.");
    }
    this.draw();
  }

  /** Take what is there, as parts of a message. */
  send() {
    const parts = this.items.map(({ part }) => part);
    this.items = [];
    this.draw();
    return parts;
  }

  /** Bring back the files of a message that was not accepted. */
  restore(parts) {
    const back = parts.map((part) => ({ name: part.filename, part }));
    this.items = [...back, ...this.items].slice(0, FILES_MAX);
    this.draw();
  }

  draw() {
    this.list.hidden = !this.items.length;
    this.list.replaceChildren(...this.items.map((item) => this.drawn(item)));
    this.about.onChange();
  }

  drawn(item) {
    const row = element("li", "", item.name);
    if (!item.part) row.setAttribute("aria-busy", "true");
    const remove = row.appendChild(element("button", "", "×"));
    Object.assign(remove, { type: "button", ariaLabel: `Remove ${item.name}` });
    remove.addEventListener("click", () => {
      this.items = this.items.filter((other) => other !== item);
      this.draw();
    });
    return row;
  }
}

/** The id of a file, from the part of a message that it is. */
export function fileId({ url }) {
  return url.slice(url.lastIndexOf("/") + 1);
}
