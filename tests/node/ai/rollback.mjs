// A model fails after it said something: it is taken back, or, where the client knows no way, begun anew visibly.
import assert from 'node:assert/strict';
import { Chat, checkStored, modern, stored, visible } from './client.mjs';

const chat = new Chat({ id: crypto.randomUUID() });
await chat.sendMessage({ text: '/tool current_time\n/think hm\n/words 3\n/faillate overloaded 1\n/words 2' });
chat.check();
assert.ok(chat.lastMessage.parts.every(part => part.state !== 'streaming'));
if (modern) {
  await checkStored(chat);
} else {
  const told = visible((await stored(chat)).at(-1).parts);
  const last = told.slice(told.findLastIndex(part => part.type === 'step-start'));
  const shown = visible(chat.lastMessage.parts);
  assert.deepEqual(shown.slice(-last.length), last);
  const line = shown.at(-last.length - 1);
  assert.equal(line.type, 'text');
  assert.match(line.text, /begins anew/);
}

// One that is resumed afterwards shows nothing of it.
const page = new Chat({ id: crypto.randomUUID() });
const sending = page.sendMessage({ text: '/words 3\n/faillate overloaded 1\n/words 2\n/sleep 1\n/words 1' });
await page.until(() => page.messages.length === 2 && page.lastMessage.parts.some(part => part.type === 'data-status'));
await page.stop();
await sending;
await page.resumeStream();
page.check();
assert.doesNotMatch(page.text, /begins anew/);
