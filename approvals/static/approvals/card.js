// What a person is asked to decide, as a card with its controls; the same in a chat and in the inbox.
//
//   approvalCard(approval, { decide, read, now }) -> { root, calls, bar, isOver, isFocused, update(approval), stop() }
//
//   approval  an approval object of the API, in any status
//   decide    (body) => Promise of the approval as it was decided; `body` is that of `POST approvals/{id}/decide`.
//             A refusal is an error with `message`, `code` and `fields`
//   read      () => Promise of the approval as it is now; asked when somebody else was quicker, or time is over. Optional
//   now       () => the server's time in milliseconds; this computer's unless given
//   isOver    whether nothing can be decided here any more
//   isFocused whether the keyboard was on it when it was decided
//   root      the whole card. A page that shows each call elsewhere takes its element out of `calls` (by the call's
//             id), and the common controls as `bar`
//   update    shows the approval as it is now: controls go when it is no longer pending
//   stop      ends the countdown of a card that is shown no more
//
// The styles are in `approvals.css`.

import { Call, offered } from "./call.js";
import { countDown } from "./countdown.js";
import { decidedNodes } from "./decided.js";
import { button, element } from "./dom.js";
import { byWhom, timeOf } from "./outcome.js";
import { Question } from "./question.js";
import { ScopeChoice } from "./scope.js";

const MISSED = new Set(["already_decided", "expired", "stale", "not_found"]);
const SUBMITS = { edit: "Run with changes", respond: "Send response", reject: "Reject" };
const OPENS = { edit: "Edit…", respond: "Respond…", reject: "Reject with a reason…" };

export const approvalCard = (approval, options) => new Card(approval, options);

class Card {
  constructor(approval, { decide, read = null, now = Date.now }) {
    Object.assign(this, { approval, decide, read, now });
    this.isOver = this.isFocused = false;
    this.isQuestion = approval.kind !== "tool_approval";
    this.parts = this.isQuestion ? [this.question()] : approval.requests.map((request) => this.call(request));
    this.calls = new Map(this.parts.map((part) => [part.id, part.root]));
    this.makeBar();
    this.root = element("div", "ask");
    this.root.append(...this.calls.values(), this.bar);
    this.stop = () => {};
    if (approval.status === "pending") this.begin();
    else this.update(approval);
  }

  begin() {
    this.stop = countDown(this.left, this.approval.expires_at, { now: this.now, over: () => this.timeIsOver() });
    this.changed();
  }

  question() {
    return new Question(this.approval, { changed: () => this.changed(), answer: (text) => this.send({ answer: text }) });
  }

  call(request) {
    const handlers = { changed: () => this.changed(), submit: () => this.submit() };
    const call = new Call(request, { withChoice: this.approval.requests.length > 1, ...handlers });
    call.root.addEventListener("keydown", (event) => this.onKey(event, call));
    return call;
  }

  makeBar() {
    this.bar = element("div", "ask-bar");
    this.controls = element("fieldset", "ask-controls");
    this.controls.ariaLabel = "Decision";
    this.buttons = element("div", "ask-buttons");
    this.scope = new ScopeChoice(this.approval.scopes ?? []);
    this.left = element("span", "ask-left");
    this.controls.append(this.buttons, this.scope.root, this.left);
    this.problem = element("p", "problem");
    this.problem.setAttribute("role", "alert");
    this.problem.hidden = true;
    this.status = element("p", "visually-hidden");
    this.status.setAttribute("role", "status");
    this.bar.append(this.controls, this.problem, this.status);
  }

  // --- choosing ---------------------------------------------------------------------------------

  get isSingle() {
    return !this.isQuestion && this.parts.length === 1;
  }

  /** Draw what can be pressed now. */
  changed() {
    if (this.isOver) return;
    const mode = this.isSingle ? `single ${this.parts[0].type}` : "whole";
    if (this.mode !== mode) {
      this.mode = mode;
      this.buttons.replaceChildren(...this.wantedButtons());
    }
    if (this.main) this.main.disabled = this.body() === null;
    this.scope.show(this.remembered().map((part) => part.request.name));
  }

  /** The calls whose tools an approval for longer would be about; none while nothing is approved. */
  remembered() {
    if (this.isQuestion) return [];
    const isNext = ({ type, request }) => type === null && offered(request).includes("approve");
    if (this.isSingle) return this.parts.filter(isNext);
    const runs = this.parts.filter(({ type }) => type === "approve" || type === "edit");
    return runs.some(({ type }) => type === "approve") ? runs : [];
  }

  wantedButtons() {
    this.main = null;
    if (this.isQuestion) return this.questionButtons();
    if (!this.isSingle) return this.batchButtons();
    const [call] = this.parts;
    return call.type ? this.panelButtons(call) : this.quickButtons(call);
  }

  questionButtons() {
    const [question] = this.parts;
    this.main = button("Answer", "primary", () => this.submit());
    const refuse = () => this.send({ decisions: [{ tool_call_id: question.id, type: "reject" }] });
    const mayRefuse = question.request.allowed_decisions.includes("reject");
    return [this.main, ...(mayRefuse ? [button("Do not answer", "quiet-button", refuse)] : [])];
  }

  batchButtons() {
    this.main = button(`Submit ${this.parts.length} decisions`, "primary", () => this.submit());
    const all = button("Approve all", "quiet-button", () => {
      this.parts.forEach((call) => call.choose("approve"));
      this.changed();
      this.main.focus();
    });
    const mayAll = this.parts.every((call) => offered(call.request).includes("approve"));
    return [this.main, ...(mayAll ? [all] : [])];
  }

  quickButtons(call) {
    const types = offered(call.request);
    const made = [];
    const now = (type) => this.send(this.withScope([{ tool_call_id: call.id, type }], type));
    if (types.includes("approve")) made.push(button("Approve", "primary", () => now("approve")));
    if (types.includes("reject")) made.push(button("Reject", "", () => now("reject")));
    for (const type of types.filter((type) => OPENS[type])) {
      const opens = button(OPENS[type], "quiet-button", () => this.open(call, type));
      opens.dataset.opens = type;
      made.push(opens);
    }
    return made;
  }

  panelButtons(call) {
    this.main = button(SUBMITS[call.type], "primary", () => this.submit());
    return [this.main, button("Cancel", "quiet-button", () => this.close(call))];
  }

  open(call, type) {
    call.choose(type);
    this.changed();
    call.focusPanel();
  }

  close(call) {
    const { type } = call;
    call.choose(null);
    this.changed();
    const back = this.isSingle ? this.buttons.querySelector(`[data-opens="${type}"]`) : call.radios.find((radio) => radio.value === type);
    back?.focus();
  }

  onKey(event, call) {
    if (event.key !== "Escape" || event.isComposing || call.panel.hidden) return;
    event.stopPropagation();
    this.close(call);
  }

  // --- deciding ---------------------------------------------------------------------------------

  /** What would be sent; null while the server would refuse it. */
  body() {
    if (this.isQuestion) return this.parts[0].words.isFine ? { answer: this.parts[0].words.text } : null;
    const decisions = this.parts.map((call) => call.decision);
    return decisions.every(Boolean) ? this.withScope(decisions, ...decisions.map((each) => each.type)) : null;
  }

  withScope(decisions, ...types) {
    const scope = types.includes("approve") ? this.scope.value : "once";
    return scope === "once" ? { decisions } : { decisions, scope };
  }

  submit() {
    const body = this.body();
    if (body) this.send(body);
  }

  async send(body) {
    if (this.isSending || this.isOver) return;
    const focused = document.activeElement;
    this.isFocused = [this.bar, ...this.calls.values()].some((each) => each.contains(focused));
    this.isSending = true;
    this.say("");
    this.enable(false);
    try {
      this.update(await this.decide(body));
    } catch (error) {
      await this.refused(error);
    } finally {
      this.isSending = false;
    }
    if (this.isOver) return;
    this.enable(true);
    if (focused?.isConnected) focused.focus();
  }

  async refused(error) {
    if (error.code === "already_decided" && error.fields?.decided_by) {
      this.say("Decided already ", byWhom(error.fields), ", ", timeOf(error.fields.decided_at), ".");
    } else this.say(error.message);
    if (!MISSED.has(error.code)) return;
    this.left.hidden = true;
    this.over();
    await this.readAgain();
  }

  async readAgain() {
    try {
      if (this.read) this.update(await this.read());
    } catch {
      // what was said stays
    }
  }

  timeIsOver() {
    if (this.isOver || this.isSending) return;
    this.over();
    this.say(this.isQuestion ? "Nobody answered in time." : "Nobody decided in time, so nothing of this runs.");
  }

  // --- what became of it ------------------------------------------------------------------------

  update(approval) {
    this.approval = approval;
    if (approval.status === "pending" || this.isSettled) return;
    this.isSettled = true;
    this.over();
    for (const part of this.parts) {
      const name = part.root.querySelector(".ask-tool");
      part.root.replaceChildren(...(name ? [name] : []), ...decidedNodes(approval, part.request));
      part.root.disabled = false;
    }
    this.controls.hidden = true;
    this.problem.hidden = true;
    this.status.textContent = this.parts[0].root.querySelector(".ask-outcome").textContent;
  }

  /** Nothing can be decided here any more. */
  over() {
    this.isOver = true;
    this.stop();
    this.enable(false);
    this.buttons.replaceChildren();
    this.scope.show([]);
  }

  enable(isEnabled) {
    this.controls.disabled = !isEnabled;
    for (const part of this.parts) part.root.disabled = !isEnabled;
  }

  say(...nodes) {
    this.problem.replaceChildren(...nodes);
    this.problem.hidden = !this.problem.textContent;
  }
}
