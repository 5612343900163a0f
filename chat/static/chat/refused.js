// What the page says of something that was refused.

import { timeOf } from "../approvals/outcome.js";
import { element } from "./parts.js";

const SPANS = { daily: "today", weekly: "this week" };

/** What to say of an error, as texts and elements. Until when a usage limit lasts is told in the person's own time. */
export function refusal({ code, detail, message, fields }, usagePage) {
  if (code !== "usage_limit" || !fields?.resets_at) return [detail ?? message ?? "That did not work."];
  const page = element("a", "", "See your usage");
  page.href = usagePage;
  const span = SPANS[fields.window] ?? "for now";
  return [`You have used up what you may use ${span}. You can go on from `, timeOf(fields.resets_at), " on. ", page];
}
