// What an AG-UI front end does, with the official client: SCENARIO names it; what it came to is printed as JSON.
import { HttpAgent, buildResumeArray } from '@ag-ui/client';
import { randomUUID } from 'node:crypto';

const { API, KEY, SCENARIO } = process.env;
const note = text => `/tool demo_note ${JSON.stringify({ text })}`;
let number = 0;

const agentOf = (threadId = randomUUID()) =>
  new HttpAgent({ url: `${API}/ui/ag-ui`, headers: { Authorization: `Bearer ${KEY}` }, threadId });

/** Runs the agent, after the person said something if they did; returns what the client was told and made of it. */
async function run(agent, text, parameters = {}) {
  if (text) agent.addMessage({ id: `u${++number}-${randomUUID()}`, role: 'user', content: text });
  const told = { events: [], error: null, outcome: null, usage: null };
  await agent.runAgent(parameters, {
    onEvent: ({ event }) => void told.events.push(event.type),
    onRunErrorEvent: ({ event }) => void (told.error = { message: event.message, code: event.code }),
    onRunFinishedEvent: ({ event }) => {
      told.outcome = event.outcome?.type ?? 'success';
      told.usage = event.usage ?? null;
    },
  });
  return { ...told, messages: plain(agent.messages), interrupts: agent.pendingInterrupts };
}

/** The messages without ids, which are new each time. */
const plain = messages =>
  messages.map(({ role, content, toolCalls, metadata }) => ({
    role,
    ...(content !== undefined && { content }),
    ...(toolCalls && { calls: toolCalls.map(call => [call.function.name, JSON.parse(call.function.arguments)]) }),
    ...(metadata && { metadata }),
  }));

const resuming = (agent, answer) => ({
  resume: buildResumeArray(
    agent.pendingInterrupts,
    Object.fromEntries(agent.pendingInterrupts.map((interrupt, n) => [interrupt.id, answer(interrupt, n)])),
  ),
});

const scenarios = {
  async everything() {
    const agent = agentOf();
    const first = await run(agent, '/think let me see\n/words 3\n/tool calculator {"expression": "6 * 7"}\n/sleep 2\n/words 2');
    return [first, await run(agent, '/words 1')];
  },
  async approvals() {
    const agent = agentOf();
    const asked = await run(agent, `${note('one')}\n${note('two')}\n/words 2`);
    const decided = await run(agent, null, resuming(agent, (_, n) =>
      n ? { status: 'cancelled' } : { status: 'resolved', payload: { approved: true } }));
    return [asked, decided];
  },
  async editing() {
    const agent = agentOf();
    const asked = await run(agent, `${note('one')}\n/words 2`);
    const payload = { approved: true, editedArgs: { text: 'better' } };
    return [asked, await run(agent, null, resuming(agent, () => ({ status: 'resolved', payload })))];
  },
  async question() {
    const agent = agentOf();
    const asked = await run(agent, '/ask Red or blue? | red | blue\n/results');
    return [asked, await run(agent, null, resuming(agent, () => ({ status: 'resolved', payload: { answer: 'blue' } })))];
  },
  async instead() {
    const agent = agentOf();
    const asked = await run(agent, note('one'));
    return [asked, await run(agent, '/words 3', resuming(agent, () => ({ status: 'cancelled' })))];
  },
  async rollback() {
    const agent = agentOf();
    await run(agent, '/words 1');
    return run(agent, '/think so\n/faillate overloaded 1\n/words 2');
  },
  async failure() {
    const agent = agentOf();
    const failed = await run(agent, '/fail quota');
    return [failed, await run(agent, '/words 1')];
  },
  async stop() {
    const agent = agentOf();
    const running = run(agent, '/words 2\n/sleep 50');
    for (let stopped = false; !stopped; await new Promise(resolve => setTimeout(resolve, 50))) {
      const url = `${API}/ui/chat/${agent.threadId}/stop`;
      const answer = await fetch(url, { method: 'POST', headers: { Authorization: `Bearer ${KEY}` } });
      stopped = answer.ok && (await answer.json()).cancelled;
    }
    return running;
  },
  async again() {
    const agent = agentOf();
    const began = new Promise(resolve => agent.subscribe({ onTextMessageContentEvent: () => resolve() }));
    const left = run(agent, '/think so\n/words 40 50');
    await began;
    agent.abortRun();
    const partial = await left;
    return [partial, await run(agent)];
  },
  async busy() {
    const agent = agentOf();
    await run(agent, note('one'));
    const other = agentOf(agent.threadId);
    return run(other, '/words 1').catch(error => ({ status: error.status, code: error.payload.code }));
  },
};

process.stdout.write(JSON.stringify(await scenarios[SCENARIO]()));
