// Messages are edited, and answered again: the client drops what came after, the server keeps it as a branch.
import assert from 'node:assert/strict';
import { Chat, stored } from './client.mjs';

const chat = new Chat({ id: crypto.randomUUID() });
await chat.sendMessage({ text: '/words 1' });
await chat.sendMessage({ text: '/words 2' });
const [first, , second] = chat.messages.map(message => message.id);

await chat.regenerate();
chat.check();
assert.equal(chat.text, 'w1 w2');
await chat.sendMessage({ text: '/words 3', messageId: second });
chat.check();
await chat.sendMessage({ text: '/words 4', messageId: second });
chat.check();
assert.equal(chat.text, 'w1 w2 w3 w4');
assert.equal(chat.messages.length, 4);
assert.deepEqual((await stored(chat)).map(row => row.role), ['user', 'assistant', 'user', 'assistant']);

await chat.regenerate({ messageId: chat.messages[1].id });
chat.check();
assert.deepEqual(chat.messages.map(message => message.role), ['user', 'assistant']);
assert.equal(chat.messages[0].id, first);
const rows = await stored(chat);
assert.deepEqual(rows.map(row => row.parts.at(-1).text), ['/words 1', 'w1']);
assert.equal(rows[1].id, chat.lastMessage.id);
