// Closing the stream stops nothing; `stop` does, and then everything that was open has an end.
import assert from 'node:assert/strict';
import { Chat, checkStored, sdk, stop } from './client.mjs';

const sendAutomaticallyWhen = chat =>
  sdk.lastAssistantMessageIsCompleteWithApprovalResponses(chat) ||
  sdk.lastAssistantMessageIsCompleteWithToolCalls(chat);
const chat = new Chat({ id: crypto.randomUUID(), sendAutomaticallyWhen });
const sending = chat.sendMessage({ text: '/words 2\n/tool current_time\n/tool demo_wait {"seconds": 60}' });
await chat.until(() => chat.messages.length === 2 && chat.calls[0]?.state === 'output-available');
const stopped = await stop(chat);
assert.equal(stopped.cancelled, true);
await sending;
chat.check();
assert.ok(chat.calls.every(call => ['output-available', 'output-error'].includes(call.state)));
assert.equal(chat.requests.length, 1); // and nothing is sent by itself
await checkStored(chat);
assert.equal((await stop(chat)).cancelled, false);

// What waits for an approval can be stopped too; the chat is free then.
await chat.sendMessage({ text: '/tool demo_note {"text": "never"}' });
assert.equal(chat.calls[0].state, 'approval-requested');
await stop(chat);
await chat.sendMessage({ text: '/words 1' });
chat.check();
assert.equal(chat.text, 'w1');
