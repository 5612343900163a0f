// How something was decided, in words: who, what, where and when.

import { element } from "./dom.js";

// Worded like approvals/outcome.py.
const VERBS = {
  approve: "Approved",
  edit: "Approved with changes",
  reject: "Rejected",
  respond: "Answered",
};
const SURFACES = {
  web: "on the web",
  api: "over the API",
};
const REMEMBERED = {
  session: "allowed for this chat",
  always: "always allowed",
};

/** What was decided about one call of an approval; nothing when nobody decided. */
export const decisionOf = (approval, call) => (approval.decisions ?? []).find((each) => each.tool_call_id === call);

/** "Approved by ada on the web, 14:02", as an element that keeps the time in `datetime`. */
export function outcomeLine(approval, call, className = "outcome") {
  const line = element("span", className);
  const decision = decisionOf(approval, call);
  if (!decision) line.append(undecided(approval));
  else {
    line.append(`${VERBS[decision.type] ?? decision.type} ${byWhom(approval)}, `, timeOf(approval.decided_at));
    const runs = decision.type === "approve" || decision.type === "edit";
    if (runs && REMEMBERED[approval.scope]) line.append(` · ${REMEMBERED[approval.scope]}`);
  }
  return line;
}

/** "by ada on the web" */
export function byWhom({ decided_by: by, surface }) {
  return `by ${by || "somebody"} ${SURFACES[surface] ?? `via ${surface}`}`;
}

function undecided({ kind, status }) {
  if (status === "cancelled") return "Not decided: stopped before";
  return kind === "tool_approval" ? "Nobody decided in time" : "Nobody answered in time";
}

/** A moment, in the words of whoever looks: today only the time. */
export function timeOf(moment) {
  const made = element("time");
  made.dateTime = moment;
  word(made);
  return made;
}

function word(time) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  const isToday = moment.toDateString() === new Date().toDateString();
  const date = isToday ? {} : { day: "numeric", month: "short", ...(moment.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" }) };
  time.textContent = moment.toLocaleString("en-GB", { ...date, hour: "2-digit", minute: "2-digit" });
  time.title = moment.toLocaleString();
}

/** Word every moment below `root` that the server drew. */
export function wordTimes(root) {
  root.querySelectorAll("time[datetime]").forEach(word);
}
