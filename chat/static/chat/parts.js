// Draws the parts of a message, in the markup of the template `_message.html`.

import { shownValue } from "./values.js";

// Worded like TOOL_STATES in chat/transcript.py.
const TOOL_STATES = {
  "input-streaming": "running",
  "input-available": "running",
  "approval-requested": "waits for you",
  "approval-responded": "running",
  "output-available": "done",
  "output-error": "failed",
  "output-denied": "refused",
};
const VERBATIM = /^(```|~~~|\||\t| {4})/;

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The buttons below a message, as the template draws them. */
export function foot(role) {
  return document.getElementById(`${role}-foot`).content.firstElementChild.cloneNode(true);
}

/** HTML that the server rendered and cleaned, as nodes. */
function nodesOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.childNodes];
}

/** Give every code block below `root` a button that copies it. */
export function addCopyButtons(root) {
  for (const block of root.querySelectorAll(".codeblock:not(:has(> .copy))")) {
    const button = element("button", "copy", "Copy");
    button.type = "button";
    block.prepend(button);
  }
}

class DrawnText {
  constructor() {
    this.root = element("div", "part markdown");
    this.tail = element("p", "tail");
    this.tailText = this.tail.appendChild(document.createTextNode(""));
    this.drawn = []; // {block, nodes}
  }

  update(part) {
    this.updateBlocks(part.blocks);
    const shown = this.tailText.data;
    if (part.tail.startsWith(shown)) this.tailText.appendData(part.tail.slice(shown.length));
    else this.tailText.data = part.tail;
    this.tail.classList.toggle("verbatim", VERBATIM.test(part.tail));
    if (part.tail.trim()) this.root.append(this.tail);
    else this.tail.remove();
  }

  updateBlocks(blocks) {
    let same = 0;
    while (same < this.drawn.length && this.drawn[same].block === blocks[same]) same += 1;
    for (const { nodes } of this.drawn.splice(same)) nodes.forEach((node) => node.remove());
    for (const block of blocks.slice(same)) {
      const nodes = block.html === undefined ? [element("p", "tail", block.text)] : nodesOf(block.html);
      this.drawn.push({ block, nodes });
      this.tail.parentNode === this.root ? this.tail.before(...nodes) : this.root.append(...nodes);
      addCopyButtons(this.root);
    }
  }
}

class DrawnReasoning {
  constructor() {
    this.root = element("details", "part reasoning");
    this.summary = this.root.appendChild(element("summary"));
    this.plain = this.root.appendChild(element("div", "plain"));
  }

  update(part) {
    this.summary.textContent = part.open ? "Thinking…" : "Thoughts";
    this.plain.textContent = part.tail;
  }
}

class DrawnTool {
  constructor(part) {
    this.root = element("details", "part tool");
    const summary = this.root.appendChild(element("summary"));
    this.name = summary.appendChild(element("span", "tool-name", part.toolName));
    summary.append(" ");
    this.state = summary.appendChild(element("span", "tool-state"));
  }

  update(part) {
    this.root.dataset.state = part.state;
    this.name.textContent = part.toolName;
    this.state.textContent = TOOL_STATES[part.state] ?? part.state;
    while (this.root.children.length > 1) this.root.lastElementChild.remove();
    this.section("Input", part.input);
    this.section("Output", part.output);
    this.section("Error", part.errorText ?? part.approval?.reason);
  }

  section(title, value) {
    const text = shownValue(value);
    if (text) this.root.append(element("h3", "", title), element("pre", "", text));
  }
}

const DRAWN = { text: DrawnText, reasoning: DrawnReasoning, "dynamic-tool": DrawnTool };

/** What draws `part`: an object with a `root` element and `update(part)`. */
export function drawn(part) {
  return new DRAWN[part.type](part);
}
