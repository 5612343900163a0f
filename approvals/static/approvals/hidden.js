// Values that only the server knows: what stands for them passes through unchanged, or is replaced as a whole.

import { element } from "./dom.js";
import { textsOf } from "./json.js";

const PLACEHOLDER = /(⟦hidden:[0-9a-f]{8}⟧)/;
// What turns the order of letters around, or stands between them and is not seen.
const UNSEEN = /([\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\u{e0000}-\u{e007f}])/u;
const REMAINS = /⟦\s*hidden|hidden:[0-9a-f]{1,8}⟧/;

/** A text in pieces; those at odd places stand for hidden values. */
export const piecesOf = (text) => text.split(PLACEHOLDER);

export const holdsHidden = (text) => PLACEHOLDER.test(text);

/** What stands for hidden values anywhere inside `value`. */
export function placeholdersIn(value) {
  return new Set(textsOf(value).flatMap((text) => piecesOf(text).filter((_, index) => index % 2)));
}

/** Whether a placeholder in `value` was damaged, or made up. */
export function isTampered(value, known) {
  return textsOf(value).some((text) =>
    piecesOf(text).some((piece, index) => (index % 2 ? !known.has(piece) : REMAINS.test(piece))),
  );
}

/** What is shown for a hidden value. */
export function chip() {
  const made = element("span", "hidden-value", "hidden value");
  made.title = "Only the server knows this value. It is passed on unchanged.";
  return made;
}

/** What is shown for a character that would make a text look like another one. */
function mark(character) {
  const made = element("span", "unseen", `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  made.title = "An invisible character. It is passed on as it is.";
  return made;
}

const pieceNodes = (text) => text.split(UNSEEN).map((piece, index) => (index % 2 ? mark(piece) : piece));

/** A text as nodes, with a chip for each hidden value and a mark for each character that is not seen. */
export const shownText = (text) => piecesOf(text).flatMap((piece, index) => (index % 2 ? chip() : pieceNodes(piece)));
