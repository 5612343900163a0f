// One websocket that comes back by itself: after a close, and after silence that a heartbeat should have broken.

import { parseFrame } from "./values.js";

const SILENCE_MS = 12000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 8000;
const TOO_MANY_FRAMES_DELAY_MS = 10000;
const NOT_LOGGED_IN = 4401;
const NO_SUCH_SESSION = 4404;
const TOO_MANY_FRAMES = 4429;

export class Socket {
  /**
   * @param {string} path of the websocket on this server
   * @param {{onOpen: () => void, onFrame: (frame: object) => void, onState: (state: string) => void}} handlers
   *   `onState` gets connecting, open, waiting, and at last "login" or "missing": then it never comes back.
   */
  constructor(path, handlers) {
    this.url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
    this.handlers = handlers;
    this.failures = 0;
    this.socket = null;
    this.over = false;
    addEventListener("online", () => this.hurry());
    addEventListener("pageshow", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  connect() {
    if (this.over) return;
    clearTimeout(this.retry);
    this.handlers.onState("connecting");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.heard();
    socket.onopen = () => {
      this.handlers.onState("open");
      this.handlers.onOpen();
    };
    socket.onmessage = (message) => {
      this.failures = 0;
      this.heard();
      this.handlers.onFrame(parseFrame(message.data));
    };
    socket.onclose = (event) => this.lost(event.code);
  }

  /** Send a frame; false when there is no connection right now. */
  send(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  heard() {
    this.heardAt = Date.now();
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lost(), SILENCE_MS);
  }

  /** The machine woke up or the network is back: do not wait for timers that slept too. */
  hurry() {
    if (this.over) return;
    if (this.socket && Date.now() - this.heardAt > SILENCE_MS) this.lost();
    if (!this.socket) this.connect();
  }

  lost(code) {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      // A connection that is gone may take minutes to say so: it is not waited for.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    if (code === NOT_LOGGED_IN || code === NO_SUCH_SESSION) {
      this.over = true;
      this.handlers.onState(code === NOT_LOGGED_IN ? "login" : "missing");
      return;
    }
    this.handlers.onState("waiting");
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), this.delay(code));
  }

  delay(code) {
    if (code === TOO_MANY_FRAMES) return TOO_MANY_FRAMES_DELAY_MS;
    const longest = Math.min(FIRST_DELAY_MS * 2 ** this.failures, LONGEST_DELAY_MS);
    this.failures += 1;
    return longest * (0.5 + Math.random() / 2); // all pages of a restarted server must not come at once
  }
}
