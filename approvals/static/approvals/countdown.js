// How long something can still be decided.

const UNITS = [["day", 86400, 2], ["h", 3600, 1], ["min", 60, 1], ["s", 1, 0]];

/** "23 h left", "4 min left", "12 s left", "expired". */
export function timeLeft(seconds) {
  if (seconds <= 0) return "expired";
  const [unit, size] = UNITS.find(([, size, least]) => seconds >= size * least);
  const count = Math.max(1, Math.floor(seconds / size));
  return `${count} ${unit === "day" ? "days" : unit} left`;
}

/**
 * Keep `line` saying how long is left until `end`, an ISO time, and call `over` once at the end.
 * @param {() => number} now the server's time in milliseconds
 * @returns {() => void} ends it
 */
export function countDown(line, end, { now, over }) {
  const at = Date.parse(end);
  const tick = () => {
    const seconds = (at - now()) / 1000;
    const text = timeLeft(seconds);
    if (line.textContent !== text) line.textContent = text;
    if (seconds > 0) return;
    clearInterval(timer);
    over();
  };
  const timer = setInterval(tick, 1000);
  tick();
  return () => clearInterval(timer);
}
