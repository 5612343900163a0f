// The decision that the session waits for, as controls on the cards of the tools that it is about.

import { approvalCard } from "../approvals/card.js";
import { outcomeLine } from "../approvals/outcome.js";

/** A function that returns the server's time; `sent` is when the server made this page, in milliseconds. */
export function serverClock(sent) {
  const arrived = performance.timeOrigin + (performance.getEntriesByType("navigation")[0]?.responseStart ?? 0);
  const ahead = sent ? sent - arrived : 0;
  return () => Date.now() + ahead;
}

/** What a message has to wait for while this is asked. */
export const waitsFor = (approval) => (approval.kind === "tool_approval" ? "your approval" : "your answer");

export class Prompts {
  /**
   * @param {{decide: (id: string, body: object) => Promise<object>, read: (id: string) => Promise<object>,
   *   decided: (approval: object) => void, now: () => number, announce: (text: string) => void}} handlers
   *   `decided` gets what the server answered, before its events come
   */
  constructor(handlers) {
    Object.assign(this, handlers);
    this.card = null;
    this.views = [];
  }

  /** Have the controls of `approval` on the parts of `live`; null: of none. A part that is not drawn yet is waited for. */
  show(approval, live) {
    if (this.card?.approval.id !== approval?.id) this.change(approval);
    if (!approval?.requests.length || !live) return;
    const last = approval.requests.at(-1).tool_call_id;
    for (const [id, element] of this.card.calls) {
      const view = live.toolView(id);
      if (!view) continue;
      view.mount(id === last ? [element, this.card.bar] : [element]);
      if (!this.views.includes(view)) this.views.push(view);
    }
    if (this.views.length) this.tell();
  }

  change(approval) {
    this.card?.stop();
    this.views.forEach((view) => view.unmount());
    if (this.card?.isFocused) this.views.at(-1)?.summary.focus({ preventScroll: true });
    this.views = [];
    this.isTold = false;
    this.card = approval && approvalCard(approval, this.ways(approval));
  }

  ways({ id }) {
    const note = (answer) => {
      this.hear({ type: "data-approval-decided", data: { approval: answer } });
      this.decided(answer);
      return answer;
    };
    return {
      now: this.now,
      decide: (body) => this.decide(id, body).then(note),
      read: () => this.read(id).then(note),
    };
  }

  /** Tell of the decision about what is shown, whoever made it. */
  hear({ type, data }) {
    if (type !== "data-approval-decided" || data.approval.id !== this.card?.approval.id) return;
    const lines = data.approval.requests.map((request) => outcomeLine(data.approval, request.tool_call_id).textContent);
    this.announce([...new Set(lines)].join(" "));
  }

  tell() {
    if (this.isTold) return;
    this.isTold = true;
    const { kind, question, requests } = this.card.approval;
    const names = requests.map((request) => request.name).join(", ");
    this.announce(kind === "tool_approval" ? `Holdfast asks for your approval: ${names}.` : `Holdfast asks: ${question}`);
  }
}
