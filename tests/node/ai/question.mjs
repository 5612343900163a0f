// The agent asks the person: the answer is the output of its call. Beside calls that need an approval too.
import assert from 'node:assert/strict';
import { Chat, checkStored, sdk } from './client.mjs';

const sendAutomaticallyWhen = chat =>
  sdk.lastAssistantMessageIsCompleteWithApprovalResponses(chat) ||
  sdk.lastAssistantMessageIsCompleteWithToolCalls(chat);
const asked = [];
const chat = new Chat({
  id: crypto.randomUUID(),
  sendAutomaticallyWhen,
  onToolCall: ({ toolCall }) => void asked.push(toolCall.toolName),
});

await chat.sendMessage({ text: '/tool current_time\n/ask Which colour? | red | blue\n/results' });
chat.check();
const question = chat.calls.find(call => call.toolName === 'ask_user');
assert.deepEqual(question.input, { question: 'Which colour?', options: ['red', 'blue'] });
assert.equal(question.state, 'input-available');
await chat.addToolOutput({ tool: 'ask_user', toolCallId: question.toolCallId, output: 'blue' });
await chat.until(() => chat.requests.length === 2 && chat.status === 'ready');
chat.check();
assert.match(chat.text, /blue/);
await checkStored(chat);
assert.deepEqual(asked, ['ask_user']); // what runs on the server is nothing for the client to run

const before = chat.requests.length;
await chat.sendMessage({
  text: '/tool demo_note {"text": "one"}\n/tool ask_user {"question": "Well?"}\n/tool calculator {"expression": "1"}\n/results',
});
const note = chat.calls.find(call => call.toolName === 'demo_note');
await chat.addToolApprovalResponse({ id: note.approval.id, approved: true });
await chat.until(() => chat.requests.length === before + 2 && chat.status === 'ready');
const second = chat.calls.find(call => call.toolName === 'ask_user');
await chat.addToolOutput({ tool: 'ask_user', toolCallId: second.toolCallId, output: 'very' });
await chat.until(() => chat.requests.length === before + 3 && chat.status === 'ready');
chat.check();
assert.match(chat.text, /very/);
assert.equal(chat.messages.length, 4);
assert.ok(chat.calls.every(call => call.state === 'output-available'));
