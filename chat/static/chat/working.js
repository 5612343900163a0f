// What the page says while an answer is on its way.

/** What to say while nothing can be read yet; null when the answer speaks for itself. */
export function workingLabel(active, fold, { stopping, asked }) {
  if (stopping?.turn === active.id) return "Stopping…";
  if (asked || active.isWaiting) return "Waiting for you.";
  if (!fold) return "";
  if (fold.status) return statusLabel(fold.status);
  const open = fold.openParts.at(-1);
  if (open) return open.type === "text" && open.version > 0 ? null : ""; // thoughts have a line of their own
  const running = (fold.messages.at(-1)?.parts ?? []).filter((part) => part.state?.startsWith("input-"));
  return running.length ? `Running ${running.map((part) => part.toolName).join(", ")}…` : "";
}

function statusLabel({ state, attempt }) {
  switch (state) {
    case "retrying":
      return attempt ? `The model did not answer. Trying again (${attempt})…` : "The model did not answer. Trying again…";
    case "recovered":
      return "Picked up again after an interruption.";
    case "compacting":
    case "compacted":
      return "Making room in the conversation…";
    case "waiting_limit":
      return "Waiting for the usage limit…";
    default:
      return "";
  }
}
