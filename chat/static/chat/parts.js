// Draws the parts of a message, in the markup of the template `_message.html`.

import { element } from "../approvals/dom.js";
import { decisionOf, outcomeLine, wordTimes } from "../approvals/outcome.js";
import { shownValue } from "./values.js";

export { element };

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
// As in CHILD_TOOLS of chat/transcript.py.
const CHILD_TOOLS = new Set(["run_subsession", "get_subsession_result"]);
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
// Worded like COMPACTED in chat/transcript.py.
const COMPACTED = {
  summary: "Earlier messages were summarised.",
  left_out: "Earlier messages no longer fit and could not be summarised.",
  results: "Long tool results were shortened for the model.",
};
const VERBATIM = /^(```|~~~|\||\t| {4})/;

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

/** Finish what the server drew below `root`: code that can be copied, moments in the words of whoever looks. */
export function finishDrawn(root) {
  addCopyButtons(root);
  wordTimes(root);
}

/** Give every code block below `root` a button that copies it. */
function addCopyButtons(root) {
  for (const block of root.querySelectorAll(".codeblock:not(:has(> .copy))")) {
    const button = element("button", "copy", "Copy");
    button.type = "button";
    block.prepend(button);
  }
}

const FILES = "/api/v1/files/";
// As IMAGES in copilot/media.py.
const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/** A file that a person sent: a link to ours, a picture where it is one; of anything else only the name. */
export function drawnFile({ url, filename, mediaType }) {
  const name = filename || mediaType || "file";
  const root = element("p", "part file");
  if (!url?.startsWith(FILES)) return root.append(name), root;
  const link = root.appendChild(element("a", "", IMAGES.includes(mediaType) ? undefined : name));
  link.href = url;
  if (!IMAGES.includes(mediaType)) return root;
  const picture = link.appendChild(element("img"));
  Object.assign(picture, { src: url, alt: name, loading: "lazy" });
  return root;
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
    this.summary = this.root.appendChild(element("summary"));
    this.name = this.summary.appendChild(element("span", "tool-name", part.toolName));
    this.summary.append(" ");
    this.state = this.summary.appendChild(element("span", "tool-state"));
    this.mounted = []; // the controls of a decision; without them, what went in and came out
  }

  update(part) {
    this.part = part;
    this.root.dataset.state = part.state;
    this.name.textContent = part.toolName;
    const state = this.mounted.length ? "approval-requested" : part.state;
    this.state.textContent = TOOL_STATES[state] ?? state;
    this.by?.remove();
    this.by = part.asked && this.summary.appendChild(outcomeLine(part.asked, part.toolCallId, "tool-by"));
    for (const child of [...this.root.children].slice(1)) if (!this.mounted.includes(child)) child.remove();
    if (!this.mounted.length) this.drawSections(part);
  }

  drawSections({ asked, toolCallId, input, output, errorText, approval }) {
    const isQuestion = asked && asked.kind !== "tool_approval";
    if (asked && decisionOf(asked, toolCallId)?.type === "edit") {
      this.section("Asked for", asked.requests.find((request) => request.tool_call_id === toolCallId).arguments);
    }
    this.section(isQuestion ? "Question" : "Input", isQuestion ? asked.question : input);
    this.section(isQuestion ? "Answer" : "Output", output);
    this.childLink(output?.session);
    this.section("Error", errorText);
    if (!errorText) this.section("Reason", approval?.reason);
  }

  section(title, value) {
    const text = shownValue(value);
    if (text) this.root.append(element("h3", "", title), element("pre", "", text));
  }

  /** Lead to the session that the call started or asked after. */
  childLink(session) {
    if (!CHILD_TOOLS.has(this.part.toolName) || !ID.test(session)) return;
    const line = element("p", "child-link");
    const link = line.appendChild(element("a", "", "Open the session"));
    link.href = `/c/${session}/`;
    this.root.append(line);
  }

  /** Show the controls of a decision in here. */
  mount(controls) {
    if (controls.every((each) => this.mounted.includes(each) && each.parentNode === this.root)) return;
    this.mounted = controls;
    this.root.open = true;
    this.root.dataset.waiting = "";
    this.update(this.part);
    this.root.append(...controls);
  }

  /** It was decided: what is left to know is in the summary. A question stays to be read. */
  unmount() {
    const hadFocus = this.root.contains(document.activeElement);
    this.mounted = [];
    delete this.root.dataset.waiting;
    this.update(this.part);
    this.root.open = Boolean(this.part.asked && this.part.asked.kind !== "tool_approval");
    if (hadFocus) this.summary.focus({ preventScroll: true });
  }
}

class DrawnCompaction {
  constructor(part) {
    this.root = element("p", "part compaction", COMPACTED[part.data.kind] ?? COMPACTED.summary);
  }

  update() {}
}

const DRAWN = {
  text: DrawnText,
  reasoning: DrawnReasoning,
  "dynamic-tool": DrawnTool,
  "data-compaction": DrawnCompaction,
};

/** What draws `part`: an object with a `root` element and `update(part)`. */
export function drawn(part) {
  return new DRAWN[part.type](part);
}
