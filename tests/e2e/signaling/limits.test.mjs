// What one client, one user and one address may ask for, proven by traffic. This machine itself has no limits of its own, so the
// clients come from elsewhere: through a load balancer that says who they are (PROXY protocol, version 2).
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, connect as dial } from 'node:net';
import { after, before, test } from 'node:test';
import { closeAll, connect, freshRoom, sleep, startDaemon } from './harness.mjs';

const KEY = 'a key of thirty-two characters..';
const limits = {
  PUBLIC__PROXIES: '["127.0.0.2"]',
  LIMITS__CONNECTS_PER_SECOND: 2,
  LIMITS__JOINS_PER_MINUTE: 12,
  LIMITS__EVENTS_PER_SECOND: 10,
  LIMITS__BYTES_PER_SECOND: 8000,
  LIMITS__MESSAGE_BYTES: 4096,
  LIMITS__ROOMS_PER_USER: 2,
  LIMITS__REQUESTS_PER_SECOND: 2,
  AUTH__API_KEYS: '["a-key-of-a-back-end"]',
  ROOMS__WAITING_TIMEOUT: '0s',
};
let open;
let jwt;
const balancers = [];
before(async () => {
  [open, jwt] = await Promise.all([startDaemon(limits), startDaemon({ ...limits, AUTH__MODE: 'jwt', AUTH__KEY: KEY })]);
});
after(async () => {
  closeAll();
  balancers.forEach((server) => server.close());
  await Promise.all([open.stop(), jwt.stop()]);
});

/** A header of PROXY version 2: TCP over IPv4, from this address. */
function header(from) {
  const address = (text) => text.split('.').map(Number);
  const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
  return Buffer.from([...signature, 0x21, 0x11, 0, 12, ...address(from), ...address('203.0.113.1'), 0x9c, 0x40, 0x01, 0xbb]);
}

/** Where clients of this address reach the daemon. */
async function from(address, daemon = open) {
  const server = createServer((client) => {
    const there = dial({ host: '127.0.0.1', port: daemon.port, localAddress: '127.0.0.2' });
    there.write(header(address));
    client.pipe(there).pipe(client);
    for (const [one, other] of [[client, there], [there, client]]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  balancers.push(server);
  return `http://127.0.0.1:${server.address().port}`;
}

const native = (url) => connect(url, { auth: { dialect: 'native' } });
const timed = async (what) => {
  const begun = Date.now();
  await what;
  return (Date.now() - begun) / 1000;
};
const isOver = (answer, most) => {
  assert.equal(answer.error?.code, 'too-many-requests', JSON.stringify(answer));
  assert.ok(answer.error.retryAfter >= 1 && answer.error.retryAfter <= most, JSON.stringify(answer));
};

test('who connects faster than an address may is let in, a little later; others are not held up', async () => {
  const [busy, quiet] = [await from('198.51.100.1'), await from('198.51.100.2')];
  // Ten seconds' worth at once, then two a second.
  const clients = Array.from({ length: 26 }, () => native(busy));
  const waits = Promise.all(clients.map((client) => timed(client.connected())));
  await sleep(300);
  const other = native(quiet);
  assert.ok((await timed(other.connected())) < 1, 'another address waited');
  const sorted = (await waits).sort((a, b) => a - b);
  assert.ok(sorted[19] < 2.5, `the twentieth came in after ${sorted[19]} s`);
  assert.ok(sorted[25] > 2.5 && sorted[25] < 6, `the last came in after ${sorted[25]} s`);
  assert.equal((await clients[25].ask('room.join', { room: freshRoom() })).ok, true);
});

test('when the line of an address is full, it is told when to come again', async () => {
  const url = await from('198.51.100.3');
  const giveUp = new AbortController();
  const refused = [];
  const hello = async () => {
    const answer = await fetch(`${url}/socket.io/?EIO=4&transport=polling`, { signal: giveUp.signal });
    if (answer.status === 429) refused.push([Number(answer.headers.get('retry-after')), (await answer.json()).error.code]);
  };
  // Twenty are let in, twenty stand in line.
  const all = Array.from({ length: 45 }, () => hello().catch(() => {}));
  await sleep(2000);
  giveUp.abort();
  await Promise.all(all);
  assert.ok(refused.length >= 1 && refused.length <= 5, `${refused.length} refused`);
  for (const [wait, code] of refused) assert.ok(wait >= 1 && code === 'too-many-requests', `${wait} ${code}`);
});

test('joins over the rate of a client are refused with the time to wait, and work then', async () => {
  const client = native(await from('198.51.100.4'));
  for (let n = 0; n < 12; n += 1) {
    const room = freshRoom();
    assert.equal((await client.ask('room.join', { room })).ok, true);
    await client.ask('room.leave', { room });
  }
  const room = freshRoom();
  const refused = await client.ask('room.join', { room });
  isOver(refused, 6);
  await sleep(refused.error.retryAfter * 1000);
  assert.equal((await client.ask('room.join', { room })).ok, true);
});

test('many clients of one address join no more than twenty of them would', async () => {
  const [url, elsewhere] = [await from('198.51.100.5'), await from('198.51.100.6')];
  const room = freshRoom();
  let joined = 0;
  const all = Array.from({ length: 20 }, async () => {
    const client = native(url);
    for (let n = 0; n < 12; n += 1) {
      const answer = await client.ask('room.join', { room, kind: 'room' });
      joined += answer.ok || answer.error.code === 'room-full';
      if (answer.ok) await client.ask('room.leave', { room });
    }
  });
  await Promise.all(all);
  assert.equal(joined, 240);
  // Four a second come back meanwhile.
  const late = native(url);
  const answers = await Promise.all(Array.from({ length: 12 }, () => late.ask('room.join', { room: freshRoom() })));
  isOver(answers.find((answer) => !answer.ok) ?? answers[0], 2);
  assert.equal((await native(elsewhere).ask('room.join', { room: freshRoom() })).ok, true);
});

test('an event that is too long is refused, and the connection stays', async () => {
  const client = native(await from('198.51.100.7'));
  const room = freshRoom();
  await client.ask('room.join', { room });
  const answer = await client.ask('signal', { room, kind: 'offer', data: 'x'.repeat(5000) });
  assert.equal(answer.error.code, 'too-large');
  client.emit('signal', { room, kind: 'offer', data: 'x'.repeat(5000) });
  assert.deepEqual([(await client.next('error')).code, client.heard.at(-1)[1].command], ['too-large', 'signal']);
  assert.equal((await client.ask('signal', { room, kind: 'offer', data: 'short' })).ok, true);
});

test('more bytes or events than the rate are each refused with the time to wait, and pass then', async () => {
  const url = await from('198.51.100.8');
  const [bytes, events] = [native(url), native(url)];
  const room = freshRoom();
  await Promise.all([bytes, events].map((client) => client.ask('room.join', { room })));
  const send = (client, count, size) =>
    Promise.all(Array.from({ length: count }, () => client.ask('signal', { room, kind: 'x', data: 'x'.repeat(size) })));
  // Five seconds' worth at once: 40,000 bytes, or fifty events, the joins among them.
  for (const [client, size, least, most] of [[bytes, 3900, 9, 13], [events, 1, 45, 60]]) {
    const answers = await send(client, 100, size);
    const passed = answers.filter((answer) => answer.ok).length;
    assert.ok(passed >= least && passed <= most, `${passed} of ${size} bytes passed`);
    answers.filter((answer) => !answer.ok).forEach((answer) => isOver(answer, 2));
  }
  await sleep(1000);
  for (const client of [bytes, events]) assert.equal((await client.ask('signal', { room, kind: 'x', data: 1 })).ok, true);
});

test('requests without a key are answered at the rate of an address, with a key at any', async () => {
  const [url, elsewhere] = [await from('198.51.100.9'), await from('198.51.100.15')];
  const ask = async (path, headers, to = url) => {
    const answer = await fetch(`${to}${path}`, { headers });
    return { status: answer.status, wait: Number(answer.headers.get('retry-after')), body: await answer.json() };
  };
  const all = await Promise.all(Array.from({ length: 30 }, (_, n) => ask(['/api/rooms', '/api/rooms/nowhere', '/api/ice'][n % 3])));
  const refused = all.filter(({ status }) => status === 429);
  assert.ok(refused.length >= 8 && refused.length <= 10, `${refused.length} refused`);
  for (const { wait, body } of refused) assert.deepEqual([wait >= 1, body.error.code, body.error.retryAfter], [true, 'too-many-requests', wait]);
  const keyed = await Promise.all(Array.from({ length: 60 }, () => ask('/api/rooms', { authorization: 'Bearer a-key-of-a-back-end' })));
  assert.ok(keyed.every(({ status }) => status === 200));
  assert.equal((await ask('/health')).status, 200);
  assert.equal((await ask('/api/rooms', {}, elsewhere)).status, 200);
  await sleep(refused[0].wait * 1000);
  assert.equal((await ask('/api/rooms')).status, 200);
});

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
function token(sub) {
  const message = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, exp: Math.floor(Date.now() / 1000) + 60 })}`;
  return `${message}.${createHmac('sha256', KEY).update(message).digest('base64url')}`;
}
const user = (url, name) => connect(url, { auth: { dialect: 'native', token: token(name) }, reconnection: false });

test('a user has no more rooms than it may, wherever it is', async () => {
  const [here, there] = [user(await from('198.51.100.10', jwt), 'ada'), user(await from('198.51.100.11', jwt), 'ada')];
  const rooms = [];
  for (const client of [here, there]) rooms.push((await client.ask('room.create', { name: 'r' })).room.id);
  isOver(await there.ask('room.create', { name: 'r' }), 10);
  isOver(await here.ask('room.join', { room: freshRoom() }), 10);
  assert.equal((await here.ask('room.delete', { room: rooms[1] })).ok, true);
  assert.equal((await there.ask('room.create', { name: 'r' })).ok, true);
});

test('who connects faster than a user may is let in, a little later, and refused when the line is full', async () => {
  const urls = await Promise.all(['198.51.100.12', '198.51.100.13', '198.51.100.14'].map((address) => from(address, jwt)));
  // Ten seconds' worth at once, five more in line: of all addresses together.
  const clients = Array.from({ length: 36 }, (_, n) => user(urls[n % 3], 'eve'));
  const outcomes = clients.map((client) => client.connected().then(() => 'in', (error) => error.message));
  const begun = Date.now();
  await sleep(300);
  assert.ok((await timed(user(urls[0], 'bob').connected())) < 1, 'another user waited');
  const all = await Promise.all(outcomes);
  const seconds = (Date.now() - begun) / 1000;
  const count = (what) => all.filter((outcome) => outcome === what).length;
  assert.ok(count('in') >= 30 && count('in') <= 33, `${count('in')} came in`);
  assert.equal(count('in') + count('too-many-requests'), 36, `${all}`);
  assert.ok(seconds > 4 && seconds < 8, `${seconds} s`);
  await sleep(1000);
  await user(urls[0], 'eve').connected();
});
