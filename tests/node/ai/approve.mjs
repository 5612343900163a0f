// A batch of two calls: one is approved, one refused, and the answer goes on by itself when both are answered.
import assert from 'node:assert/strict';
import { Chat, checkStored, sdk, sessionOf } from './client.mjs';

const options = { sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithApprovalResponses };
const chat = new Chat({ id: crypto.randomUUID(), ...options });
await chat.sendMessage({ text: '/tool demo_note {"text": "one"}\n/tool demo_note {"text": "two"}\n/results' });
chat.check();
assert.deepEqual(chat.calls.map(call => call.state), ['approval-requested', 'approval-requested']);

// A page that is opened meanwhile is shown the same.
const page = new Chat({ id: chat.id, messages: chat.messages.slice(0, 1), ...options });
await page.resumeStream();
page.check();
assert.deepEqual(page.messages, chat.messages);

const { id } = chat.lastMessage;
const [one, two] = chat.calls;
await chat.addToolApprovalResponse({ id: one.approval.id, approved: true });
assert.equal(chat.requests.length, 1); // not before all are answered
await chat.addToolApprovalResponse({ id: two.approval.id, approved: false, reason: 'not that one' });
await chat.until(() => chat.requests.length === 2 && chat.status === 'ready');
chat.check();
assert.deepEqual(chat.calls.map(call => call.state), ['output-available', 'output-denied']);
assert.deepEqual(chat.calls.map(call => call.approval.approved), [true, false]);
assert.match(chat.text, /not that one/);
assert.equal(chat.messages.length, 2);
assert.equal(chat.lastMessage.id, id);
await checkStored(chat);

// Whoever answers otherwise afterwards is told so, and changes nothing.
for (const [n, call] of page.calls.entries()) {
  await page.addToolApprovalResponse({ id: call.approval.id, approved: n === 1 });
}
await page.until(() => page.status === 'error');
assert.match(page.error.responseBody ?? page.error.message, /already_decided/);
console.log(JSON.stringify((await sessionOf(chat)).id));
