// A question of the agent: its options, and a box for any other answer.

import { button, element } from "./dom.js";
import { Words } from "./call.js";
import { shownText } from "./hidden.js";
import { TEXT_MAX } from "./rules.js";

export class Question {
  /** @param {{changed: () => void, answer: (text: string) => void}} handlers `answer` gets what was chosen or written */
  constructor(approval, { changed, answer }) {
    const [request] = approval.requests;
    this.id = request.tool_call_id;
    this.request = request;
    this.root = element("fieldset", "ask-call");
    this.root.ariaLabel = "A question for you";
    const asked = this.root.appendChild(element("p", "ask-question"));
    asked.append(...shownText(approval.question));
    const options = (approval.options ?? []).map((text) => button(text, "", () => answer(text)));
    if (options.length) {
      const row = this.root.appendChild(element("div", "ask-options"));
      row.append(...options);
    }
    const label = options.length ? "Or answer in your own words" : "Your answer";
    const submit = () => this.words.isFine && answer(this.words.text);
    this.words = new Words({ label, most: TEXT_MAX, needed: true, changed, submit });
    this.root.append(this.words.root);
  }
}
