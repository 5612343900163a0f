// What tools get and give, shown exactly as the server shows it.

import { parseExact } from "../approvals/json.js";

const HOLDS_VALUES = /"(tool-|dynamic-tool"|data-approval|approval")/;

/** Parse a frame. Numbers that JavaScript would change (1.0, 2 to the 70th) keep their digits where it can. */
export function parseFrame(text) {
  return HOLDS_VALUES.test(text) ? parseExact(text) : JSON.parse(text);
}

/** A text as it is, anything else as indented JSON with sorted keys, nothing as nothing. */
export function shownValue(value) {
  if (value === undefined || value === null) return "";
  const text = typeof value === "string" ? value : indented(value, "");
  return text === "{}" ? "" : text;
}

function indented(value, margin) {
  if (typeof value !== "object" || value === null || JSON.isRawJSON?.(value)) return JSON.stringify(value);
  const inner = `${margin}  `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => indented(item, inner))
    : Object.keys(value).sort().map((key) => `${JSON.stringify(key)}: ${indented(value[key], inner)}`);
  return items.length ? `${open}\n${inner}${items.join(`,\n${inner}`)}\n${margin}${close}` : open + close;
}
