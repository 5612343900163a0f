// The line of the inbox that lets this browser be told while no page is open.

import { call } from "../chat/api.js";
import { disablePush, enablePush, pushState } from "./push.js";

const line = document.getElementById("notify");
const text = line.querySelector("span");
const button = line.querySelector("button");

/** What is said, and what the button does; states without an entry show nothing. */
const STATES = {
  off: ["", "Tell me on this device when something waits", enablePush],
  on: ["This device is told when something waits.", "Stop", disablePush],
  denied: ["This browser does not allow notifications from here; its own settings can change that.", "", null],
};

function draw(state) {
  const [said, label, act] = STATES[state] ?? [];
  line.hidden = !STATES[state];
  text.textContent = said ?? "";
  button.textContent = label ?? "";
  button.hidden = !label;
  button.onclick = act && (() => change(act));
}

async function change(act) {
  button.disabled = true;
  try {
    await act(call);
    draw(await pushState(call));
  } catch (error) {
    text.textContent = `That did not work: ${error.message}`;
  } finally {
    button.disabled = false;
  }
}

pushState(call).then(draw, () => draw("unavailable"));
