// What the server accepts in a decision, so that nothing can be submitted that it would refuse.

import { isTampered, placeholdersIn } from "./hidden.js";
import { isObject, sizeOf, textsOf } from "./json.js";
import { problemsOf } from "./schema.js";

export const REASON_MAX = 2000;
export const TEXT_MAX = 16000;
const ARGUMENTS_MAX = 64 * 1024;

const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u0084\u0086-\u009f]/g;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

/** What the server makes of a written text. */
export const written = (text) => text.replace(CONTROLS, "").trim();

/** What is wrong with a written text, in a sentence; nothing: "". */
export function problemOfText(text, { most, needed }) {
  const length = [...text].length;
  if (length > most) return `${(length - most).toLocaleString("en")} characters too many.`;
  return needed && !written(text) ? "Write something first." : "";
}

/** What is wrong with edited arguments: [{path, message}]. */
export function problemsOfArguments(edited, request) {
  const whole = (message) => [{ path: [], message }];
  if (!isObject(edited)) return whole("This must be a JSON object.");
  const size = sizeOf(edited);
  if (size > ARGUMENTS_MAX) return whole(`${size.toLocaleString("en")} bytes; at most ${ARGUMENTS_MAX.toLocaleString("en")} are accepted.`);
  if (textsOf(edited).some((text) => text.includes("\u0000") || LONE_SURROGATE.test(text))) {
    return whole("This holds characters that cannot be stored.");
  }
  if (isTampered(edited, placeholdersIn(request.arguments))) {
    return whole("A hidden value was changed: leave ⟦hidden:…⟧ as it is, or replace all of it.");
  }
  return problemsOf(edited, request.schema ?? {});
}
