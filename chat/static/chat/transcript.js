// What a turn's events add up to. No DOM in here: `live.js` draws it.

/** The index in `text` behind its first `count` code points; less when there are fewer. */
function behind(text, count) {
  let index = 0;
  for (; count > 0 && index < text.length; count -= 1) index += text.codePointAt(index) > 0xffff ? 2 : 1;
  return { index, missing: count };
}

/** A text part: finished blocks as HTML from the server, then the tail as plain text. */
export class TextPart {
  type = "text";
  blocks = []; // {from, to, html} or {from, to, text}, without gaps
  covered = 0; // code points in blocks
  tail = "";
  open = true;
  version = 0;
  early = []; // frames that came before the text they stand for

  constructor(id) {
    this.id = id;
  }

  append(delta) {
    this.tail += delta;
    this.version += 1;
    if (this.early.length) this.early.splice(0).forEach((frame) => this.replace(frame));
  }

  /** Whether it is this plain sentence and nothing else, rendered or not. */
  isSentence(text) {
    const said = this.blocks.map((block) => block.html ?? block.text).join("") + this.tail;
    return said.replace(/<\/?p>/g, "").trim() === text;
  }

  /** Put finished HTML in the place of the code points from `from` up to `to`. */
  replace({ from, to, html }) {
    if (from > this.covered) {
      const { index, missing } = behind(this.tail, from - this.covered);
      if (missing) return void this.early.push({ from, to, html });
      this.take({ from: this.covered, to: from, text: this.tail.slice(0, index) }, index);
    }
    const at = from === this.covered ? this.blocks.length : this.blocks.findIndex((block) => block.from === from);
    if (at < 0) return;
    const replaced = this.blocks.slice(at).filter((block) => block.to <= to);
    if (at + replaced.length < this.blocks.length && replaced.at(-1)?.to !== to) return;
    if (replaced.at(-1)?.to === to && replaced.length === 1 && replaced[0].html === html) return;
    const { index, missing } = behind(this.tail, Math.max(0, to - this.covered));
    if (missing) return void this.early.push({ from, to, html });
    this.blocks.splice(at, replaced.length, { from, to, html });
    this.tail = this.tail.slice(index);
    this.covered = Math.max(this.covered, to);
    this.version += 1;
  }

  take(block, index) {
    this.blocks.push(block);
    this.tail = this.tail.slice(index);
    this.covered = block.to;
    this.version += 1;
  }
}

/** One turn: its messages and parts, how it stands, and how it ended. */
export class TurnFold {
  constructor(id) {
    this.id = id;
    this.lastSeq = 0;
    this.log = []; // standing events and HTML frames, to fold again after a rollback
    this.isGapless = true; // until a pruned log was replaced by its outcome
    this.epoch = 0; // grows when everything drawn so far must be drawn again
    this.clear();
  }

  clear() {
    this.messages = []; // {id, role, parts}
    this.byPart = new Map();
    this.calls = new Map();
    this.settled = new Set(); // ids of approvals that nobody decides any more
    this.below = new Map(); // what children ask: id -> {approval, call}; `call` is the one that waits for the child
    this.status = null;
    this.failure = null; // {code, detail, hint}
    this.ended = null; // finish, error or abort
    this.aborted = null;
    this.finishReason = null;
  }

  /** Take one event; false when it was known already. `seq` is absent for transient chunks. */
  event(seq, chunk) {
    if (seq != null) {
      if (seq <= this.lastSeq) return false;
      this.lastSeq = seq;
    }
    if (chunk.type === "data-rollback") this.rollBack(chunk.data.to_seq);
    else if (chunk.type === "data-reset") this.reset(chunk.data.parts);
    else {
      if (seq != null) this.log.push({ seq, chunk });
      this.apply(chunk);
    }
    return true;
  }

  /** Take one frame of finished HTML. */
  html(frame) {
    this.log.push({ seq: frame.after, frame });
    this.byPart.get(frame.part)?.replace(frame);
  }

  /** Forget what came after `toSeq`; what stood before it stands again. */
  rollBack(toSeq) {
    const standing = this.log.filter((entry) => entry.seq <= toSeq);
    this.refold(standing);
  }

  refold(entries) {
    this.clear();
    this.log = entries;
    this.epoch += 1;
    for (const { chunk, frame } of entries) chunk ? this.apply(chunk) : this.byPart.get(frame.part)?.replace(frame);
  }

  /** The log was pruned: these are the parts, whatever was folded so far. */
  reset(parts) {
    const id = this.messages.at(-1)?.id ?? null;
    this.refold([]);
    this.isGapless = false;
    const message = this.openMessage(id);
    for (const part of parts) {
      if (part.type === "text" || part.type === "reasoning") {
        const made = this.openPart(part.type, `reset-${message.parts.length}`);
        made.append(part.text);
        made.open = false;
      } else if (part.type === "dynamic-tool" || part.type === "data-compaction") {
        message.parts.push({ ...part, version: 0 });
      }
    }
  }

  get isOver() {
    return this.ended !== null;
  }

  /** The parts that are being written. */
  get openParts() {
    return this.messages.flatMap((message) => message.parts).filter((part) => part.open);
  }

  openMessage(id) {
    const known = this.messages.find((message) => message.id === id && message.role === "assistant");
    if (known) this.messages.splice(this.messages.indexOf(known), 1);
    const message = known ?? { id, role: "assistant", parts: [] };
    this.messages.push(message);
    return message;
  }

  get current() {
    const last = this.messages.at(-1);
    return last?.role === "assistant" ? last : this.openMessage(null);
  }

  openPart(kind, id) {
    const part = new TextPart(id);
    part.type = kind;
    this.current.parts.push(part);
    this.byPart.set(id, part);
    return part;
  }

  apply(chunk) {
    switch (chunk.type) {
      case "start":
        if (chunk.messageId) this.openMessage(chunk.messageId);
        break;
      case "text-start":
      case "reasoning-start":
        this.status = null;
        this.openPart(chunk.type.slice(0, -"-start".length), chunk.id);
        break;
      case "text-delta":
      case "reasoning-delta":
        this.byPart.get(chunk.id)?.append(chunk.delta);
        break;
      case "text-end":
      case "reasoning-end":
        this.closePart(this.byPart.get(chunk.id));
        break;
      case "data-compaction":
        this.current.parts.push({ type: chunk.type, data: chunk.data, version: 0 });
        break;
      case "data-status":
        this.status = chunk.data;
        break;
      case "data-error":
        this.failure = { ...chunk.data, detail: chunk.data.detail ?? "" };
        break;
      case "data-pending":
        this.follow(chunk.data);
        break;
      case "data-approval":
      case "data-approval-decided":
        if (chunk.data.parent_call) this.approvalBelow(chunk.data.approval, chunk.data.parent_call);
        else this.approval(chunk.data.approval);
        break;
      case "finish":
      case "error":
      case "abort":
        this.end(chunk);
        break;
      default:
        if (chunk.toolCallId) this.tool(chunk);
    }
  }

  closePart(part) {
    if (!part) return;
    part.open = false;
    part.version += 1;
  }

  /** A message that waited was delivered: what comes next answers it. */
  follow({ message, next_message_id: next }) {
    this.messages.push({ id: message.id, role: "user", message, parts: [] });
    this.openMessage(next);
  }

  end(chunk) {
    this.ended = chunk.type;
    this.status = null;
    this.below.clear();
    this.openParts.forEach((part) => this.closePart(part));
    if (chunk.type === "error") this.failure = { code: "unknown", ...this.failure, detail: chunk.errorText };
    if (chunk.type === "finish") this.finishReason = chunk.finishReason;
    if (chunk.type === "abort") this.aborted = chunk.reason ?? "stopped";
  }

  tool(chunk) {
    let part = this.calls.get(chunk.toolCallId);
    if (!part) {
      part = { type: "dynamic-tool", toolCallId: chunk.toolCallId, toolName: chunk.toolName ?? "tool", state: "input-streaming", version: 0 };
      this.calls.set(chunk.toolCallId, part);
      this.current.parts.push(part);
      this.status = null;
    }
    Object.assign(part, toolChange(chunk, part), { version: part.version + 1 });
    if (!hasOutcome(part)) return;
    for (const [id, { call }] of this.below) if (call === chunk.toolCallId) this.below.delete(id); // it waits no more
  }

  /** A child, or one of its own, asks a person, or did: it shows on the call that waits for it. */
  approvalBelow(approval, call) {
    if (approval.status !== "pending") {
      this.settled.add(approval.id);
      this.below.delete(approval.id);
    } else if (!this.settled.has(approval.id)) {
      this.below.set(approval.id, { approval, call });
    }
  }

  /**
   * Note on the calls that a person is asked about them, or what became of it; outcomes follow by themselves.
   * A question is no approval: its call waits for its output like any other.
   */
  approval(approval) {
    const isPending = approval.status === "pending";
    if (isPending && this.settled.has(approval.id)) return;
    if (!isPending) this.settled.add(approval.id);
    for (const { tool_call_id: call } of approval.requests) {
      const part = this.calls.get(call);
      if (!part) continue;
      part.version += 1;
      part.asked = isPending ? undefined : approval;
      if (approval.kind === "tool_approval" && !hasOutcome(part)) Object.assign(part, approvalChange(approval, call));
    }
  }
}

const hasOutcome = ({ state }) => state.startsWith("output-");

function approvalChange({ id, status, decisions = [] }, call) {
  const about = { id: `${id}.${call}` };
  if (status === "pending") return { state: "approval-requested", approval: about };
  if (status !== "decided") return { state: "input-available", approval: undefined };
  const approved = decisions.find((each) => each.tool_call_id === call)?.type !== "reject";
  return { state: "approval-responded", approval: { ...about, approved } };
}

function toolChange(chunk, part) {
  switch (chunk.type) {
    case "tool-input-available":
      if (part.input !== undefined) return { input: chunk.input }; // as a person edited it
      return { state: "input-available", input: chunk.input, toolName: chunk.toolName };
    case "tool-output-available":
      return { state: chunk.preliminary ? "input-available" : "output-available", output: chunk.output };
    case "tool-input-error":
      return { state: "output-error", input: chunk.input, errorText: chunk.errorText };
    case "tool-output-error":
      return { state: "output-error", errorText: chunk.errorText };
    case "tool-output-denied":
      return { state: "output-denied", approval: { ...part.approval, approved: false, reason: chunk.reason } };
    case "tool-approval-request":
      return { state: "approval-requested" };
    default:
      return {};
  }
}
