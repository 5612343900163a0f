// A front end made of the AI SDK's own classes, with nothing of ours between them and the server.
import assert from 'node:assert/strict';

const { API, KEY, PACKAGE } = process.env;
const headers = { Authorization: `Bearer ${KEY}` };

export const sdk = await import(PACKAGE);
/** Whether the client is told what version 7 of the AI SDK understands. */
export const modern = PACKAGE === 'ai7';
const api = `${API}/ui/chat${modern ? '?sdk=7' : ''}`;

/** What `useChat` keeps in a page's state, kept in memory. */
class State {
  #watchers = new Set();
  #values;

  constructor(messages) {
    this.#values = { status: 'ready', error: undefined, messages };
    for (const name of Object.keys(this.#values)) {
      Object.defineProperty(this, name, {
        get: () => this.#values[name],
        set: value => {
          this.#values[name] = value;
          this.#tell();
        },
      });
    }
  }

  pushMessage = message => void (this.messages = [...this.messages, structuredClone(message)]);
  popMessage = () => void (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => void (this.messages = this.messages.with(index, structuredClone(message)));
  snapshot = structuredClone;

  #tell() {
    for (const look of this.#watchers) look();
  }

  /** Wait until `holds()`. */
  until(holds) {
    return new Promise(resolve => {
      const look = () => {
        if (!holds()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }
}

export class Chat extends sdk.AbstractChat {
  /** The requests that were made. */
  requests = [];

  constructor({ messages = [], ...init } = {}) {
    const requests = [];
    const counted = (url, options) => {
      requests.push({ url, ...options });
      return fetch(url, options);
    };
    const state = new State(messages);
    super({ ...init, state, transport: new sdk.DefaultChatTransport({ api, headers, fetch: counted }) });
    this.requests = requests;
  }

  until(holds) {
    return this.state.until(() => holds(this));
  }

  /** The parts of the last message that are calls. */
  get calls() {
    return this.lastMessage.parts.filter(part => part.type === 'dynamic-tool');
  }

  get text() {
    return textOf(this.lastMessage.parts);
  }

  /** Assert that nothing is under way and nothing went wrong. */
  check() {
    assert.equal(this.error, undefined);
    assert.equal(this.status, 'ready');
  }
}

export const textOf = parts => parts.filter(part => part.type === 'text').map(part => part.text).join('');

/** Call the REST API; return the body of a good answer. */
export async function rest(method, path, body) {
  const answer = await fetch(`${API}/${path}`, {
    method,
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

export const upload = async form => (await fetch(`${API}/files`, { method: 'POST', headers, body: form })).json();

/** Return the session behind a chat. */
export const sessionOf = chat => rest('POST', 'sessions', { client_id: chat.id });

export const stored = async chat =>
  (await rest('GET', `sessions/${(await sessionOf(chat)).id}/messages?limit=100`)).results;

export const stop = chat => rest('POST', `ui/chat/${encodeURIComponent(chat.id)}/stop`);

/** What there is to see of a message's parts. */
export function visible(parts) {
  const seen = ['type', 'text', 'state', 'toolName', 'toolCallId', 'input', 'output', 'errorText'];
  return parts
    .filter(part => !part.type.startsWith('data-'))
    .map(part => Object.fromEntries(seen.filter(name => part[name] !== undefined).map(name => [name, part[name]])));
}

/** Assert that the client shows what the server stored, message by message, and that it takes both for valid. */
export async function checkStored(chat) {
  const rows = await stored(chat);
  assert.deepEqual(chat.messages.map(message => message.role), rows.map(row => row.role));
  // A page that is opened anew may begin with what is stored.
  await sdk.validateUIMessages({ messages: rows.map(({ id, role, parts }) => ({ id, role, parts })) });
  await sdk.validateUIMessages({ messages: chat.messages });
  for (const [n, row] of rows.entries()) {
    assert.deepEqual(visible(chat.messages[n].parts), visible(row.parts));
    assert.equal(chat.messages[n].id, row.role === 'user' ? row.client_id : row.id);
  }
}
