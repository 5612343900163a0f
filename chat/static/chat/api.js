// Calls to the REST API and to fragments of the page, with the session's cookie.

import { parseExact } from "../approvals/json.js";

/** A call that was refused or never arrived; `message` is a sentence for the person, `fields` says more. */
export class CallError extends Error {
  constructor(code, detail, fields = {}) {
    super(detail);
    this.code = code;
    this.fields = fields;
  }
}

function csrfToken() {
  return document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
}

/** Call `path` with a form, or a value to send as JSON; the JSON of the answer, or null when it has none. */
export async function call(method, path, body) {
  const headers = { "X-CSRFToken": csrfToken() };
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, body: isForm ? body : body && JSON.stringify(body) }).catch(() => {
    throw new CallError("network", "The server could not be reached. Try again.");
  });
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? parseExact(text) : null;
  } catch {
    answer = null;
  }
  if (!response.ok) throw new CallError(answer?.code ?? "unknown", answer?.detail ?? "That did not work. Try again.", answer?.fields);
  return answer;
}

/** Fetch messages as the server renders them; `hasOlder` and `hasNewer` tell what lies beyond them. */
export async function fetchMessages(path) {
  const response = await fetch(path, { headers: { "X-Requested-With": "fetch" } });
  if (response.redirected || response.status === 401 || response.status === 403) throw new CallError("login", "Log in again.");
  if (!response.ok) throw new CallError("unknown", "The messages could not be loaded.");
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return {
    articles: [...page.querySelectorAll("article.message")].map((article) => document.importNode(article, true)),
    hasOlder: response.headers.get("X-Has-Older") === "1",
    hasNewer: response.headers.get("X-Has-Newer") === "1",
  };
}
