// Runs before the page is there. Until the page's own scripts have come, Enter would only begin a new line and the
// button would send the form without them: a message sent so early waits for `sendEarly`.

(() => {
  let isWanted = false;

  const isSend = ({ type, target, key, shiftKey, isComposing }) =>
    type === "submit" ? target.matches(".composer") : target.id === "text" && key === "Enter" && !shiftKey && !isComposing;

  const hold = (event) => {
    if (!isSend(event)) return;
    event.preventDefault();
    event.stopPropagation();
    isWanted = true;
  };

  addEventListener("keydown", hold, true);
  addEventListener("submit", hold, true);

  /** Called once by the page's scripts, when they can send: what was sent before them goes out. */
  window.sendEarly = (form) => {
    removeEventListener("keydown", hold, true);
    removeEventListener("submit", hold, true);
    if (isWanted) form.requestSubmit();
  };
})();
