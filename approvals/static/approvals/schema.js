// The common part of JSON Schema. What is not known here is left to the server, which checks everything.

import { holdsHidden } from "./hidden.js";
import { isNumber, isObject, isSame, numberOf } from "./json.js";

const TYPES = {
  string: (value) => typeof value === "string",
  number: isNumber,
  integer: (value) => isNumber(value) && Number.isInteger(numberOf(value)),
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
  array: Array.isArray,
  object: isObject,
};
const NAMES = {
  string: "text", number: "a number", integer: "a whole number", boolean: "true or false", null: "null", array: "a list", object: "an object",
};

/** What is wrong with `value`: [{path, message}], nothing when it fits. */
export function problemsOf(value, schema, path = []) {
  const say = (message) => [{ path, message }];
  if (schema === false) return say("Not accepted here.");
  if (!isObject(schema)) return [];
  if (typeof value === "string" && holdsHidden(value)) return []; // only the server knows what it is
  if (schema.type !== undefined) {
    const types = [schema.type].flat();
    if (types.every((type) => TYPES[type]) && !types.some((type) => TYPES[type](value))) {
      return say(`Must be ${types.map((type) => NAMES[type]).join(" or ")}.`);
    }
  }
  if (Array.isArray(schema.enum) && !schema.enum.some((each) => isEqual(each, value))) {
    return say(`Must be one of: ${schema.enum.map((each) => JSON.stringify(each)).join(", ")}.`);
  }
  if (schema.const !== undefined && !isEqual(schema.const, value)) return say(`Must be ${JSON.stringify(schema.const)}.`);
  if (typeof value === "string") return textProblems(value, schema, say);
  if (isNumber(value)) return numberProblems(numberOf(value), schema, say);
  if (Array.isArray(value)) return listProblems(value, schema, path, say);
  return isObject(value) ? objectProblems(value, schema, path) : [];
}

const isEqual = (one, other) => (isNumber(one) && isNumber(other) ? numberOf(one) === numberOf(other) : isSame(one, other));

function textProblems(text, { minLength, maxLength }, say) {
  const length = [...text].length;
  if (length < minLength) return say(minLength === 1 ? "Must not be empty." : `At least ${minLength} characters.`);
  if (length > maxLength) return say(`At most ${maxLength} characters.`);
  return [];
}

function numberProblems(number, { minimum, maximum, exclusiveMinimum, exclusiveMaximum }, say) {
  if (number < minimum) return say(`At least ${minimum}.`);
  if (number > maximum) return say(`At most ${maximum}.`);
  if (number <= exclusiveMinimum) return say(`More than ${exclusiveMinimum}.`);
  return number >= exclusiveMaximum ? say(`Less than ${exclusiveMaximum}.`) : [];
}

function listProblems(list, { items, minItems, maxItems, prefixItems }, path, say) {
  if (list.length < minItems) return say(`At least ${minItems} entries.`);
  if (list.length > maxItems) return say(`At most ${maxItems} entries.`);
  if (items === undefined || prefixItems) return [];
  return list.flatMap((item, index) => problemsOf(item, items, [...path, index]));
}

function objectProblems(value, schema, path) {
  const missing = (schema.required ?? []).filter((name) => !Object.hasOwn(value, name));
  const found = missing.map((name) => ({ path: [...path, name], message: "Needed." }));
  const { properties = {}, patternProperties, additionalProperties } = schema;
  for (const [name, item] of Object.entries(value)) {
    if (Object.hasOwn(properties, name)) found.push(...problemsOf(item, properties[name], [...path, name]));
    else if (patternProperties) continue;
    else if (additionalProperties === false) found.push({ path: [...path, name], message: "There is no such argument." });
    else if (additionalProperties) found.push(...problemsOf(item, additionalProperties, [...path, name]));
  }
  return found;
}
