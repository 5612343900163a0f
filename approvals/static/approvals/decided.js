// What is left of a card when it has been decided.

import { argumentList } from "./call.js";
import { element } from "./dom.js";
import { shownText } from "./hidden.js";
import { decisionOf, outcomeLine } from "./outcome.js";

/** What became of one call, as nodes for the place of its controls. */
export function decidedNodes(approval, request) {
  const decision = decisionOf(approval, request.tool_call_id);
  const line = element("p", "ask-outcome");
  line.append(outcomeLine(approval, request.tool_call_id));
  const nodes = [line];
  const section = (title, ...content) => {
    const made = element("div", "ask-section");
    made.append(element("h4", "", title), ...content);
    nodes.push(made);
  };
  const isQuestion = approval.kind !== "tool_approval";
  if (isQuestion) section("Question", element("p", "ask-question", approval.question));
  if (decision?.type === "edit") {
    section("Asked for", argumentList(request.arguments));
    section("Runs with", argumentList(decision.arguments));
  } else if (!isQuestion) nodes.push(argumentList(request.arguments));
  const text = decision?.text ?? decision?.reason ?? "";
  if (text) {
    const said = element("p", "ask-said");
    said.append(...shownText(text));
    section(decision.type === "respond" ? "Answer" : "Reason", said);
  }
  return nodes;
}
