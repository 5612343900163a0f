// The server dies in the middle of an answer and is started again: the client comes back and misses nothing.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { Chat, checkStored } from './client.mjs';

const chat = new Chat({ id: crypto.randomUUID() });
const sending = chat.sendMessage({ text: '/words 5\n/tool current_time\n/words 4\n/sleep 3\n/words 3' });
await chat.until(() => chat.messages.length === 2 && chat.text.includes('w4'));
console.log('"killed now"');
await sending;
assert.equal(chat.status, 'error'); // the connection broke
while (chat.status === 'error') {
  await pause(50);
  await chat.resumeStream();
}
chat.check();
await checkStored(chat);
