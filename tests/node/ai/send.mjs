// Messages are answered: thoughts, words, tools, failures; and what is shown is what is stored.
import assert from 'node:assert/strict';
import { Chat, checkStored, stop, stored, upload } from './client.mjs';

const chat = new Chat({ id: `ä/漢 🙂 ${crypto.randomUUID()}` });
await chat.sendMessage({
  text: '/think hmm\n/words 3\n/tool calculator {"expression": "6*7"}\n/tool demo_boom\n/tool nothing\n/results',
});
chat.check();
assert.deepEqual(chat.calls.map(call => call.state), ['output-available', 'output-error', 'output-error']);
await chat.sendMessage({ text: '/words 200' });
chat.check();
assert.equal(chat.text.split(' ').length, 200);
assert.equal(chat.messages.length, 4);
await checkStored(chat);
assert.equal((await stop(chat)).cancelled, false); // whatever its name: it is known, and idle

// A turn that fails is an error of the chat, with what was said before it; the next message goes on.
await chat.sendMessage({ text: '/words 2\n/fail auth' });
assert.equal(chat.status, 'error');
chat.clearError();
await chat.sendMessage({ text: '/words 1' });
chat.check();
assert.equal(chat.text, 'w1');

// The same request again, as after a lost answer, is answered and not doubled.
const rows = (await stored(chat)).length;
const { url, method, headers, body } = chat.requests.at(-1);
const again = await fetch(url, { method, headers, body });
assert.equal(again.headers.get('x-vercel-ai-ui-message-stream'), 'v1');
assert.match(await again.text(), /"delta":"w1"/);
assert.equal((await stored(chat)).length, rows);

// One file goes along by its id, one that is sent inside the message is refused with the mend.
const form = new FormData();
form.append('file', new Blob(['some text'], { type: 'text/plain' }), 'note.txt');
const file = await upload(form);
const part = { type: 'file', url: `/api/v1/files/${file.id}`, mediaType: file.type, filename: file.name };
await chat.sendMessage({ text: '/words 1', files: [part] });
chat.check();
assert.equal((await stored(chat)).at(-2).parts.filter(each => each.type === 'file').length, 1);
await chat.sendMessage({ text: '/words 1', files: [{ ...part, url: 'data:text/plain,hello' }] });
assert.equal(chat.status, 'error');
assert.match(chat.error.responseBody ?? chat.error.message, /POST \/api\/v1\/files/);
