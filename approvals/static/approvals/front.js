// Says that the person looks at this page, so that they are not told elsewhere of what they see here.

const EVERY_MS = 20000;

/**
 * Say so over the websocket `/ws/user/` for as long as it is true, and at once when it becomes true.
 *
 * @param {{send: (frame: object) => boolean}} socket
 * @returns {() => void} to be called when the socket has opened
 */
export function keepInFront(socket) {
  const tell = () => {
    if (document.visibilityState === "visible" && document.hasFocus()) socket.send({ type: "front" });
  };
  addEventListener("focus", tell);
  document.addEventListener("visibilitychange", tell);
  setInterval(tell, EVERY_MS);
  tell();
  return tell;
}
