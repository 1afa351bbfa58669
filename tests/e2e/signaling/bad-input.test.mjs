// What a client should not send: each is answered with a stable code, and the connection and everyone else live on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { ask } from '../support/callgate.mjs';
import { closeAll, connect, freshRoom, sleep, startDaemon, until } from './harness.mjs';

let daemon;
before(async () => {
  daemon = await startDaemon({ LIMITS__EVENTS_PER_SECOND: 40, LIMITS__MESSAGE_BYTES: 20000, LIMITS__JOINS_PER_MINUTE: 0 });
});
after(async () => {
  closeAll();
  await daemon.stop();
});

const native = () => connect(daemon.url, { auth: { dialect: 'native' } });

test('malformed commands are refused with a code, acknowledged or not', async () => {
  const room = freshRoom();
  const [client, other] = [native(), native()];
  await client.ask('room.join', { room });
  await other.ask('room.join', { room });
  const table = [
    ['no.such.event', [{}], 'unknown-event'],
    ['constructor', [{}], 'unknown-event'],
    ['room.join', [], 'bad-request'],
    ['room.join', [null], 'bad-request'],
    ['room.join', [7], 'bad-request'],
    ['room.join', [[room]], 'bad-request'],
    ['room.join', [{ room: 7 }], 'bad-request'],
    ['room.join', [{ room: null }], 'bad-request'],
    ['room.join', [{ room: '' }], 'bad-request'],
    ['room.join', [{ room: 'a b' }], 'bad-request'],
    ['room.join', [{ room: '../x' }], 'bad-request'],
    ['room.join', [{ room: 'é' }], 'bad-request'],
    ['room.join', [{ room: 'x'.repeat(65) }], 'bad-request'],
    ['room.join', [{ room: 'fine', kind: 'palace' }], 'bad-request'],
    ['room.join', [{ room: 'fine', name: 'n'.repeat(129) }], 'bad-request'],
    ['room.join', [{ room: 'fine', resume: 'x' }], 'resume-failed'],
    ['room.join', [{ room: 'fine', resume: {} }], 'bad-request'],
    ['room.join', ['x'.repeat(10000)], 'bad-request'],
    ['room.create', [{ capacity: 'many' }], 'bad-request'],
    ['room.create', [{ capacity: -1 }], 'bad-request'],
    ['room.create', [{ capacity: 0 }], 'bad-request'],
    ['signal', [{ room, kind: 'offer' }], 'bad-request'],
    ['signal', [{ room, data: 1 }], 'bad-request'],
    ['signal', [{ room, kind: 'k'.repeat(129), data: 1 }], 'bad-request'],
    ['signal', [{ room, kind: 'offer', data: 1, to: 'nobody' }], 'no-such-peer'],
    ['signal', [{ room, kind: 'offer', data: 1, to: 5 }], 'bad-request'],
    ['signal', [{ room, kind: 'offer', data: Buffer.from([1, 2, 3]) }], 'bad-request'],
    ['offer', [{ roomId: room, sdp: new Uint8Array(4) }], 'bad-request'],
    ['offer', [{ roomId: room }], 'bad-request'],
    ['chat', [{ room }], 'bad-request'],
    ['chat', [{ room, text: '' }], 'bad-request'],
    ['chat', [{ room, text: { a: 1 } }], 'bad-request'],
    ['chat', [{ room, text: 'x'.repeat(16385) }], 'too-large'],
    ['chat', [{ room, text: 'x'.repeat(20000) }], 'too-large'],
    ['signal', [{ room, kind: 'offer', data: 'é'.repeat(10000) }], 'too-large'],
    ['room.leave', [{ room: 'elsewhere' }], 'not-a-member'],
  ];
  for (const [event, args, code] of table) {
    const what = `${event} ${JSON.stringify(args).slice(0, 80)}`;
    const answer = await client.ask(event, ...args);
    assert.deepEqual([answer.ok, answer.error?.code], [false, code], what);
    assert.equal(typeof answer.error.message, 'string', what);
    await sleep(20);
    client.emit(event, ...args);
    const said = await client.next('error');
    assert.deepEqual([said.code, said.command], [code, event], what);
    await sleep(20);
  }
  assert.deepEqual(other.names(), [], 'the other one heard something');
  assert.equal((await client.ask('signal', { room, kind: 'offer', data: 'still here' })).ok, true);
  assert.equal((await other.next('signal')).data, 'still here');
});

test('more events than allowed are refused with the time to wait, then let through again', async () => {
  const room = freshRoom();
  const [client, other] = [native(), native()];
  await client.ask('room.join', { room });
  await other.ask('room.join', { room });
  const begun = performance.now();
  for (let n = 0; n < 400; n += 1) client.emit('signal', { room, kind: 'candidate', data: n });
  // Forty a second flow back meanwhile: one of these alone might be lucky.
  const answers = await Promise.all(Array.from({ length: 20 }, () => client.ask('signal', { room, kind: 'offer', data: 1 })));
  const seconds = (performance.now() - begun) / 1000;
  const refused = [
    ...client.heard.filter(([name]) => name === 'error').map(([, error]) => error),
    ...answers.filter((answer) => !answer.ok).map(({ error }) => ({ command: 'signal', ...error })),
  ];
  assert.ok(answers.some((answer) => !answer.ok), 'a flood goes through');
  assert.ok(refused.every((error) => error.code === 'too-many-requests' && error.command === 'signal' && error.retryAfter >= 1));
  await sleep(refused.at(-1).retryAfter * 1000);
  assert.equal((await client.ask('signal', { room, kind: 'offer', data: 'the last' })).ok, true);
  while ((await other.next('signal')).data !== 'the last');
  const heard = other.heard.filter(([name]) => name === 'signal').length - 1;
  assert.ok(heard >= 190 && heard <= 201 + 40 * seconds, `${heard} passed in ${seconds} s`);
  assert.equal(heard + refused.length, 420, 'each one passed or was answered');
});

test('a connection is in no more than sixteen rooms', async () => {
  const client = native();
  const answers = [];
  for (let n = 0; n < 17; n += 1) answers.push(await client.ask('room.join', { room: freshRoom() }));
  assert.ok(answers.slice(0, 16).every((answer) => answer.ok));
  assert.equal(answers[16].error.code, 'too-many-requests');
});

/** A raw connection: what no decent client sends. */
async function raw() {
  const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/socket.io/?EIO=4&transport=websocket`);
  const heard = [];
  socket.on('message', (data) => {
    const text = data.toString();
    if (text === '2') socket.send('3');
    else heard.push(text);
  });
  socket.on('error', () => {});
  await once(socket, 'open');
  socket.send('40{"dialect":7}');
  await until('the welcome', () => heard.some((text) => text.startsWith('40')), { every: 10 });
  heard.length = 0;
  return { socket, heard };
}

test('deep JSON is refused and the connection stays', async () => {
  const { socket, heard } = await raw();
  socket.send('42["join",{"roomId":"deep-json"}]');
  const deep = (open, close) => `${open.repeat(3000)}1${close.repeat(3000)}`;
  for (const data of [
    `{"sdp":${deep('[', ']')}}`,
    `{"roomId":"deep-json","sdp":${deep('{"a":', '}')}}`,
    `{"roomId":${deep('[', ']')},"sdp":1}`,
    deep('[', ']'),
  ]) {
    socket.send(`42["offer",${data}]`);
    await sleep(30);
  }
  socket.send('421["chat-message",{"roomId":"deep-json","msg":"alive"}]');
  await until('the last answer', () => heard.some((text) => text.startsWith('431')), { every: 10 });
  assert.equal(heard.filter((text) => text.startsWith('42["error",{"code":"bad-request"')).length, 4, heard.join('\n'));
  assert.ok(heard.some((text) => text.startsWith('431[{"ok":true')));
  socket.close();
});

test('garbage on a connection ends that connection alone', async () => {
  const room = freshRoom();
  const [a, b] = [native(), native()];
  await a.ask('room.join', { room });
  await b.ask('room.join', { room });
  for (const garbage of [
    '9', 'x', '4', '49', '42', '42[', '42[]', '42[7]', '42{"a":1}', '45-["x"]', '451-', '451-["x",{"_placeholder":true,"num":9}]',
    '4599999999999-["x"]', '42["offer",{"sdp":{"a":1}]', '42["offer",{"sdp":nul}]', '42["offer",}{', '42/nowhere,["x"]', '41/nowhere', '43', '431', '43999999999999999999["x"]', '44{}', '40', '40/admin,{}',
    '\u0000\u0000', Buffer.alloc(300, 7), 'x'.repeat(300_000), Buffer.alloc(300_000),
  ]) {
    const { socket } = await raw();
    socket.send(garbage);
    socket.send('42["offer",{"sdp":1}]');
    await sleep(10);
    socket.terminate();
  }
  assert.equal((await a.ask('signal', { room, kind: 'offer', data: 'alive' })).ok, true);
  assert.equal((await b.next('signal')).data, 'alive');
});

test('garbage over polling is refused', async () => {
  const base = `${daemon.url}/socket.io/?EIO=4&transport=polling`;
  const open = JSON.parse((await (await fetch(base)).text()).slice(1));
  const post = (body) => fetch(`${base}&sid=${open.sid}`, { method: 'POST', body });
  assert.equal((await post('40')).status, 200);
  // The answer may come before all is said, and the end of the connection before the answer.
  const long = await post(`42["x","${'y'.repeat(400_000)}"]`).then(({ status }) => status, (error) => error.message);
  assert.ok(long >= 400 || long === 'fetch failed', `${long}`);
  for (const query of ['', '?EIO=4', '?EIO=3&transport=polling', '?EIO=4&transport=pigeon', '?EIO=4&transport=polling&sid=nobody']) {
    const { status } = await ask(`${daemon.url}/socket.io/${query}`);
    assert.ok(status >= 400 && status < 500, `${query}: ${status}`);
  }
});
