// A new chat: the first message travels to the session's page, which sends it.

import { keepFirst, prepareBox } from "./composer.js";

const form = document.getElementById("start");
const box = form.querySelector("textarea");
const button = form.querySelector(".send");
const changed = () => (button.disabled = !box.value.trim());

prepareBox(box, form);
box.addEventListener("input", changed);
addEventListener("pageshow", changed);
form.addEventListener("submit", (event) => {
  if (!box.value.trim() || form.dataset.sent) return void event.preventDefault();
  form.dataset.sent = "yes"; // a second click makes no second chat
  keepFirst(box.value.trim());
});
addEventListener("pageshow", () => delete form.dataset.sent);
window.sendEarly(form);
