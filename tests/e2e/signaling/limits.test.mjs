// What one client, one user and one address may ask for, proven by traffic. This machine itself has no limits of its own, so the
// clients come from elsewhere: through a load balancer that says who they are (PROXY protocol, version 2).
//
// Real time goes by meanwhile, on a slow machine much of it. So the rates are low, and what a rate lets through is held against the
// time that it really took: the burst at least, and at most the burst and what has flowed back since. (The exact numbers: unit tests,
// with a clock that is turned.)
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, connect as dial } from 'node:net';
import { after, describe, test } from 'node:test';
import { closeAll, connect, freshRoom, sleep, startDaemon } from './harness.mjs';

const KEY = 'a key of thirty-two characters..';
const unlimited = {
  PUBLIC__PROXIES: '["127.0.0.2"]',
  LIMITS__CONNECTS_PER_SECOND: 0,
  LIMITS__JOINS_PER_MINUTE: 0,
  LIMITS__EVENTS_PER_SECOND: 0,
  LIMITS__BYTES_PER_SECOND: 0,
  LIMITS__ROOMS_PER_USER: 0,
  LIMITS__REQUESTS_PER_SECOND: 0,
  ROOMS__WAITING_TIMEOUT: '0s',
};
const daemons = [];
const balancers = [];
after(async () => {
  closeAll();
  balancers.forEach((server) => server.close());
  await Promise.all(daemons.map((daemon) => daemon.stop()));
});

/** A daemon with these limits and no others. */
async function limited(limits) {
  const daemon = await startDaemon({ ...unlimited, ...limits });
  daemons.push(daemon);
  return daemon;
}

/** A header of PROXY version 2: TCP over IPv4, from this address. */
function header(from) {
  const address = (text) => text.split('.').map(Number);
  const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
  return Buffer.from([...signature, 0x21, 0x11, 0, 12, ...address(from), ...address('203.0.113.1'), 0x9c, 0x40, 0x01, 0xbb]);
}

/** Where clients of this address reach the daemon. */
async function from(address, daemon) {
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

/** Counts seconds from now on. */
function clock() {
  const begun = performance.now();
  return () => (performance.now() - begun) / 1000;
}

/** Waits until there are so many. */
async function full(list, length) {
  const since = clock();
  while (list.length < length) {
    assert.ok(since() < 30, `${list.length} of ${length} after 30 s`);
    await sleep(10);
  }
}

/** So many came through in that time: the burst, and no more than it and what `rate` a second gives back, and one. */
function isWithin(passed, { burst, rate, seconds }) {
  const most = burst + rate * seconds + 1;
  assert.ok(passed >= burst && passed <= most, `${passed} passed in ${seconds} s, expected ${burst} to ${most}`);
}

const isOver = (answer, most) => {
  assert.equal(answer.error?.code, 'too-many-requests', JSON.stringify(answer));
  assert.ok(answer.error.retryAfter >= 1 && answer.error.retryAfter <= most, JSON.stringify(answer));
};

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
function token(sub) {
  const message = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, exp: Math.floor(Date.now() / 1000) + 60 })}`;
  return `${message}.${createHmac('sha256', KEY).update(message).digest('base64url')}`;
}
const user = (url, name) => connect(url, { auth: { dialect: 'native', token: token(name) }, reconnection: false });
const tokens = { AUTH__MODE: 'jwt', AUTH__KEY: KEY };

// They wait for most of the time.
describe('what is limited', { concurrency: 3 }, () => {
  test('who connects faster than an address may is let in, a little later; others are not held up', async () => {
    const daemon = await limited({ LIMITS__CONNECTS_PER_SECOND: 1 });
    const [busy, quiet] = [await from('198.51.100.1', daemon), await from('198.51.100.2', daemon)];
    // Ten seconds' worth at once, then one a second.
    const since = clock();
    const seconds = [];
    const clients = Array.from({ length: 18 }, () => native(busy));
    const all = clients.map((client) => client.connected().then(() => seconds.push(since())));
    await full(seconds, 10);
    assert.ok(seconds[9] < 8, `the tenth came in after ${seconds[9]} s, as if there were no burst`);
    await native(quiet).connected();
    assert.ok(seconds.length < 18, `another address waited until all were in, ${since()} s`);
    await Promise.all(all);
    seconds.slice(10).forEach((at, n) => assert.ok(at >= n + 1 - 0.1, `the ${n + 11}th came in after ${at} s`));
    assert.equal((await clients[17].ask('room.join', { room: freshRoom() })).ok, true);
  });

  test('when the line of an address is full, it is told when to come again', async () => {
    const url = await from('198.51.100.3', await limited({ LIMITS__CONNECTS_PER_SECOND: 1 }));
    const since = clock();
    const refused = [];
    const hello = async () => {
      const answer = await fetch(`${url}/socket.io/?EIO=4&transport=polling`);
      const body = await answer.text();
      if (answer.status === 429) refused.push([Number(answer.headers.get('retry-after')), JSON.parse(body).error.code]);
    };
    // Ten are let in and ten stand in line; whoever comes in after that has come a second later at least.
    await Promise.all(Array.from({ length: 45 }, hello));
    assert.ok(refused.length <= 25, `${refused.length} refused`);
    isWithin(45 - refused.length, { burst: 10, rate: 1, seconds: since() });
    for (const [wait, code] of refused) assert.ok(wait >= 1 && code === 'too-many-requests', `${wait} ${code}`);
  });

  test('joins over the rate of a client are refused with the time to wait, and work then', async () => {
    const client = native(await from('198.51.100.4', await limited({ LIMITS__JOINS_PER_MINUTE: 12 })));
    await client.connected();
    const since = clock();
    let passed = 0;
    let room;
    let answer;
    do {
      room = freshRoom();
      answer = await client.ask('room.join', { room });
      passed += answer.ok;
    } while (answer.ok && passed < 100);
    isWithin(passed, { burst: 12, rate: 12 / 60, seconds: since() });
    isOver(answer, 5);
    await sleep(answer.error.retryAfter * 1000);
    assert.equal((await client.ask('room.join', { room })).ok, true);
  });

  test('many clients of one address join no more than twenty of them would', async () => {
    const daemon = await limited({ LIMITS__JOINS_PER_MINUTE: 1 });
    const [url, elsewhere] = [await from('198.51.100.5', daemon), await from('198.51.100.6', daemon)];
    const clients = Array.from({ length: 40 }, () => native(url));
    await Promise.all(clients.map((client) => client.connected()));
    // Each may, for itself.
    const since = clock();
    const answers = await Promise.all(clients.map((client) => client.ask('room.join', { room: freshRoom() })));
    isWithin(answers.filter((answer) => answer.ok).length, { burst: 20, rate: 20 / 60, seconds: since() });
    answers.filter((answer) => !answer.ok).forEach((answer) => isOver(answer, 3));
    assert.equal((await native(elsewhere).ask('room.join', { room: freshRoom() })).ok, true);
  });

  test('an event that is too long is refused, and the connection stays', async () => {
    const client = native(await from('198.51.100.7', await limited({ LIMITS__MESSAGE_BYTES: 4096 })));
    const room = freshRoom();
    await client.ask('room.join', { room });
    const answer = await client.ask('signal', { room, kind: 'offer', data: 'x'.repeat(5000) });
    assert.equal(answer.error.code, 'too-large');
    client.emit('signal', { room, kind: 'offer', data: 'x'.repeat(5000) });
    assert.deepEqual([(await client.next('error')).code, client.heard.at(-1)[1].command], ['too-large', 'signal']);
    assert.equal((await client.ask('signal', { room, kind: 'offer', data: 'short' })).ok, true);
  });

  // Five seconds' worth at once: five events, or a little less than five of a thousand bytes and some; the joins are among them.
  for (const [what, limits, size] of [
    ['events', { LIMITS__EVENTS_PER_SECOND: 1 }, 1],
    ['bytes', { LIMITS__BYTES_PER_SECOND: 1000 }, 1000],
  ]) {
    test(`more ${what} than the rate are each refused with the time to wait, and pass then`, async () => {
      const client = native(await from('198.51.100.8', await limited(limits)));
      await client.connected();
      const since = clock();
      const room = freshRoom();
      await client.ask('room.join', { room });
      const say = (data) => client.ask('signal', { room, kind: 'x', data });
      const answers = await Promise.all(Array.from({ length: 40 }, () => say('x'.repeat(size))));
      isWithin(answers.filter((answer) => answer.ok).length, { burst: 4, rate: 1, seconds: since() });
      const refused = answers.filter((answer) => !answer.ok);
      refused.forEach((answer) => isOver(answer, 2));
      await sleep(refused.at(-1).error.retryAfter * 1000);
      assert.equal((await say('x'.repeat(size))).ok, true);
    });
  }

  test('requests without a key are answered at the rate of an address, with a key at any', async () => {
    const daemon = await limited({ LIMITS__REQUESTS_PER_SECOND: 1, AUTH__API_KEYS: '["a-key-of-a-back-end"]' });
    const [url, elsewhere] = [await from('198.51.100.9', daemon), await from('198.51.100.15', daemon)];
    const ask = async (path, headers, to = url) => {
      const answer = await fetch(`${to}${path}`, { headers });
      return { status: answer.status, wait: Number(answer.headers.get('retry-after')), body: await answer.json() };
    };
    const since = clock();
    const all = await Promise.all(Array.from({ length: 40 }, (_, n) => ask(['/api/rooms', '/api/rooms/nowhere', '/api/ice'][n % 3])));
    const refused = all.filter(({ status }) => status === 429);
    isWithin(40 - refused.length, { burst: 10, rate: 1, seconds: since() });
    for (const { wait, body } of refused) assert.deepEqual([wait >= 1, body.error.code, body.error.retryAfter], [true, 'too-many-requests', wait]);
    const keyed = await Promise.all(Array.from({ length: 60 }, () => ask('/api/rooms', { authorization: 'Bearer a-key-of-a-back-end' })));
    assert.ok(keyed.every(({ status }) => status === 200));
    assert.equal((await ask('/health')).status, 200);
    assert.equal((await ask('/api/rooms', {}, elsewhere)).status, 200);
    await sleep(refused[0].wait * 1000);
    assert.equal((await ask('/api/rooms')).status, 200);
  });

  test('a user has no more rooms than it may, wherever it is', async () => {
    const daemon = await limited({ LIMITS__ROOMS_PER_USER: 2, ...tokens });
    const [here, there] = [user(await from('198.51.100.10', daemon), 'ada'), user(await from('198.51.100.11', daemon), 'ada')];
    const rooms = [];
    for (const client of [here, there]) rooms.push((await client.ask('room.create', { name: 'r' })).room.id);
    isOver(await there.ask('room.create', { name: 'r' }), 10);
    isOver(await here.ask('room.join', { room: freshRoom() }), 10);
    assert.equal((await here.ask('room.delete', { room: rooms[1] })).ok, true);
    assert.equal((await there.ask('room.create', { name: 'r' })).ok, true);
  });

  test('who connects faster than a user may is let in, a little later, and refused when the line is full', async () => {
    const daemon = await limited({ LIMITS__CONNECTS_PER_SECOND: 1, ...tokens });
    const [bobs, ...urls] = await Promise.all([12, 13, 14, 15, 16].map((n) => from(`198.51.100.${n}`, daemon)));
    // Ten seconds' worth at once, five more in line: of all addresses together. None of them comes too fast by itself.
    const since = clock();
    const clients = Array.from({ length: 36 }, (_, n) => user(urls[n % 4], 'eve'));
    const seconds = [];
    const outcomes = clients.map((client) => client.connected().then(() => seconds.push(since()) && 'in', (error) => error.message));
    await full(seconds, 10);
    await user(bobs, 'bob').connected();
    assert.ok(seconds.length < 15, `another user waited until all were in, ${since()} s`);
    const all = await Promise.all(outcomes);
    const count = (what) => all.filter((outcome) => outcome === what).length;
    assert.ok(count('in') >= 15, `${count('in')} came in`);
    isWithin(count('in'), { burst: 10, rate: 1, seconds: since() });
    assert.equal(count('in') + count('too-many-requests'), 36, `${all}`);
    await user(bobs, 'eve').connected();
  });
});
