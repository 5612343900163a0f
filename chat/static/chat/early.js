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

  const complain = () => {
    const line = document.createElement("p");
    line.className = "notice";
    line.setAttribute("role", "alert");
    line.textContent = "This page did not load completely, so nothing can be sent. Reload it.";
    document.querySelector(".composer").before(line);
  };

  // A script, or one that it needs, cannot be had.
  const missed = ({ target }) => {
    if (target.tagName !== "SCRIPT") return;
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", complain);
    else complain();
  };

  addEventListener("error", missed, true);
  addEventListener("keydown", hold, true);
  addEventListener("submit", hold, true);

  /** Called once by the page's scripts, when they can send: what was sent before them goes out. */
  window.sendEarly = (form) => {
    removeEventListener("keydown", hold, true);
    removeEventListener("submit", hold, true);
    if (isWanted) form.requestSubmit();
  };
})();
