// Two pages on one chat: the second message is refused while the first is answered, and then taken.
import assert from 'node:assert/strict';
import { Chat, checkStored } from './client.mjs';

const chat = new Chat({ id: crypto.randomUUID() });
const sending = chat.sendMessage({ text: '/words 1\n/sleep 1\n/words 2' });
await chat.until(() => chat.messages.length === 2 && chat.text.includes('w1'));
const page = new Chat({ id: chat.id, messages: chat.messages.slice(0, 1) });
await page.sendMessage({ text: '/words 3' });
assert.equal(page.status, 'error');
assert.match(page.error.responseBody ?? page.error.message, /session_busy/);

page.messages = page.messages.slice(0, 1);
await page.resumeStream();
page.check();
await sending;
assert.deepEqual(page.text, chat.text);
await page.sendMessage({ text: '/words 3' });
page.check();
assert.equal(page.text, 'w1 w2 w3');
await checkStored(page);
