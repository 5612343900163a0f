// A connection is lost, a page is opened anew: the answer is resumed from its beginning, and nothing is doubled.
import assert from 'node:assert/strict';
import { Chat, checkStored, stored } from './client.mjs';

const chat = new Chat({ id: crypto.randomUUID() });
await chat.resumeStream(); // nothing is known of it
chat.check();
assert.deepEqual(chat.messages, []);

const sending = chat.sendMessage({ text: '/words 5\n/sleep 1.5\n/words 3' });
await chat.until(() => chat.messages.length === 2 && chat.text.includes('w5'));
await chat.stop(); // closes the connection, and nothing else
await sending;
const partial = chat.text;

const page = new Chat({ id: chat.id, messages: chat.messages.slice(0, 1) });
await Promise.all([chat.resumeStream(), page.resumeStream()]);
assert.ok(chat.text.length > partial.length);
for (const each of [chat, page]) {
  each.check();
  await checkStored(each);
}

const before = structuredClone(chat.messages);
await chat.resumeStream(); // it has ended
chat.check();
assert.deepEqual(chat.messages, before);
assert.equal((await stored(chat)).length, 2);
