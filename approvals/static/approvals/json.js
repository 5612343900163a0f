// JSON that keeps its numbers: 1.0 and 2 to the 70th go back as they came, where the browser can do that.

/** Parse JSON. A number that JavaScript would change becomes an object of its own that is written as it was read. */
export function parseExact(text) {
  return JSON.rawJSON ? JSON.parse(text, keepNumber) : JSON.parse(text);
}

function keepNumber(_key, value, context) {
  const source = context?.source;
  return typeof value === "number" && source && String(value) !== source ? JSON.rawJSON(source) : value;
}

const isRaw = (value) => Boolean(JSON.isRawJSON?.(value));

export const isNumber = (value) => typeof value === "number" || isRaw(value);

/** The number as JavaScript has it. */
export const numberOf = (value) => (isRaw(value) ? Number(value.rawJSON) : value);

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !isRaw(value);

/** Indented, in the order in which it came. */
export const printed = (value) => JSON.stringify(value, null, 2);

export const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Bytes that the server counts: its JSON has blanks behind commas and colons. */
export function sizeOf(value) {
  return new TextEncoder().encode(spaced(value)).length;
}

function spaced(value) {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${spaced(item)}`).join(", ")}}`;
}

/** Every text inside a value, names of members too. */
export function textsOf(value) {
  if (typeof value === "string") return [value];
  if (Array.isArray(value)) return value.flatMap(textsOf);
  return isObject(value) ? Object.entries(value).flatMap(([key, item]) => [key, ...textsOf(item)]) : [];
}
