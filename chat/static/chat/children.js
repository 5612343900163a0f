// What child sessions ask, as cards on the calls that wait for them. It is decided here, there and in the inbox alike.

import { approvalCard } from "../approvals/card.js";

export class ChildPrompts {
  /** @param {(approval: object) => object} ways how the card of an approval decides (`approvalCard`) */
  constructor(ways) {
    this.ways = ways;
    this.cards = new Map(); // id of the approval -> card
    this.views = new Map(); // what draws a call -> ids of the approvals on it
  }

  /** Have the controls of what `fold` knows to be asked below on the parts of `live`. */
  show(fold, live) {
    const asked = fold?.below ?? new Map();
    for (const [id, card] of this.cards) if (!asked.has(id)) this.drop(id, card);
    for (const [id, { approval }] of asked) if (!this.cards.has(id)) this.cards.set(id, approvalCard(approval, this.ways(approval)));
    const wanted = new Map();
    for (const [id, { call }] of asked) {
      const view = live?.toolView(call);
      if (view) wanted.set(view, [...(wanted.get(view) ?? []), id]);
    }
    for (const view of this.views.keys()) if (!wanted.has(view)) view.unmount();
    for (const [view, ids] of wanted) {
      if (this.views.get(view)?.join() !== ids.join()) view.mount(ids.map((id) => this.cards.get(id).root));
    }
    this.views = wanted;
  }

  drop(id, card) {
    card.stop();
    this.cards.delete(id);
  }
}
