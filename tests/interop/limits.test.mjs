// The relay's limits, each reached by traffic.

import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, start, until } from '../e2e/support/callgate.mjs';
import { join } from '../e2e/support/member.mjs';
import { attribute, droppedByKernel, encode, method, open, openPeer } from './turn.mjs';

let daemon;
let open_ = [];

afterEach(async () => {
  open_.forEach((it) => it.close());
  open_ = [];
  const code = await daemon?.stop();
  daemon = undefined;
  assert.equal(code, 0);
});

/** Starts a daemon with these limits; one worker, so that every limit is exact. */
async function limited(limits, { turn, ...config } = {}) {
  daemon = await start({ config: { turn: { workers: 1, limits, ...turn }, ...config } });
}

const keep = (it) => {
  open_.push(it);
  return it;
};
const client = async ({ id = 'ada', from = '127.0.0.1', ...rest } = {}) =>
  keep(await open({ port: daemon.turnPort, from, ...credentials(daemon.secret, { id }), ...rest }));
const peer = async (options) => keep(await openPeer(options));
const member = async (room, name) => keep(await join(daemon.url, room, { name }));

/** Allocates `count` times, each as `who(i)` says, and requires each to be answered with `code`. */
async function allocate(count, code, who) {
  const made = [];
  for (let i = 0; i < count; i++) {
    const one = await client(who(i));
    assert.equal((await one.allocate()).code, code, `allocation ${i + 1} of ${count}`);
    made.push(one);
  }
  return made;
}

describe('allocations', () => {
  test('of a user: one more gets 486, until one ends', async () => {
    await limited({ allocations_per_user: 3 });
    const [first] = await allocate(3, 0, (i) => ({ from: `127.0.1.${i + 1}` }));
    await allocate(1, 486, () => ({ from: '127.0.1.9' }));
    await allocate(1, 0, () => ({ id: 'bob' }));
    assert.equal((await first.refresh(0)).code, 0);
    await allocate(1, 0, () => ({ from: '127.0.1.9' }));
    assert.equal((await daemon.metrics()).sum('callgate_quota_reached_total'), 1);
  });

  test('of a client address: one more gets 486, another address none', async () => {
    await limited({ allocations_per_ip: 3 });
    await allocate(3, 0, (i) => ({ id: `user-${i}` }));
    await allocate(1, 486, () => ({ id: 'user-4' }));
    await allocate(1, 0, () => ({ id: 'user-4', from: '127.0.0.2' }));
  });

  test('in all: one more gets 486, whoever asks and whichever worker answers', async () => {
    await limited({ allocations: 6 }, { turn: { workers: 2 } });
    const who = (i) => ({ id: `user-${i}`, from: `127.0.${i + 1}.1` });
    const [first] = await allocate(6, 0, who);
    await allocate(4, 486, (i) => who(i + 6));
    assert.equal((await daemon.metrics()).sum('callgate_allocations'), 6);
    assert.equal((await first.refresh(0)).code, 0);
    await allocate(1, 0, () => who(20));
  });
});

describe('of one allocation', () => {
  test('one permission more than allowed gets 508, those there are go on', async () => {
    await limited({ permissions: 4 });
    const [one] = await allocate(1, 0, () => ({}));
    const at = (i) => ({ address: `127.0.0.${i + 1}`, port: 9 });
    for (let i = 0; i < 4; i++) assert.equal(await one.permit(at(i)), 0);
    assert.equal(await one.permit(at(4)), 508);
    assert.equal(await one.permit(at(0), at(1)), 0, 'renewed');
    assert.equal(await one.bind(0x4000, at(5)), 508, 'a channel brings a permission of its own');
    assert.equal((await daemon.metrics()).sum('callgate_insufficient_capacity_total'), 2);
  });

  test('one channel more than allowed gets 508, those there are go on', async () => {
    await limited({ channels: 4 });
    const [one] = await allocate(1, 0, () => ({}));
    const echo = await peer({ echo: true });
    const at = (i) => ({ address: '127.0.0.1', port: i ? 1000 + i : echo.port });
    for (let i = 0; i < 4; i++) assert.equal(await one.bind(0x4000 + i, at(i)), 0);
    assert.equal(await one.bind(0x4004, at(4)), 508);
    one.sendOn(0x4000, 'on');
    await until('the echo', () => one.packets > 0);
    assert.equal(one.packets, 1);
  });

  test('a lifetime is capped, at an hour or as configured', async () => {
    await limited({});
    const [long] = await allocate(1, 0, () => ({}));
    assert.equal((await long.refresh(86_400)).lifetime, 3600);
    assert.equal((await long.refresh(0xffff_ffff)).lifetime, 3600);
    await daemon.stop();
    await limited({ lifetime: '10m' });
    const short = await client();
    assert.equal((await short.allocate({ lifetime: 3600 })).lifetime, 600);
    assert.equal((await short.refresh(3600)).lifetime, 600);
  });
});

describe('the unauthenticated', () => {
  const asks = {
    'Binding': () => encode({ method: method.binding }),
    'Allocate': () => encode({ method: method.allocate, attributes: [[attribute.transport, Buffer.from([17, 0, 0, 0])]] }),
    'Refresh': () => encode({ method: method.refresh }),
    'Allocate with half of the credentials': () =>
      encode({ method: method.allocate, attributes: [[attribute.username, 'ada']], key: Buffer.from('x') }),
  };

  for (const [what, request] of Object.entries(asks).slice(0, 2)) {
    test(`${what}: no more answers a second than allowed to one network, another one undisturbed`, async (t) => {
      await limited({ unauthenticated_per_second: 50 });
      const flooders = await Promise.all([1, 2, 3, 4, 5].map((i) => client({ from: `127.7.7.${i}` })));
      const answered = flooders.map(() => 0);
      flooders.forEach((one, i) => (one.take = () => answered[i]++));
      const other = await client({ from: '127.8.8.1' });
      const begun = Date.now();
      let others = 0;
      let sent = 0;
      for (let n = 0; n < 30; n++) {
        for (const one of flooders) for (let k = 0; k < 20; k++, sent++) one.write(request());
        if (await other.ask(request())) others += 1;
        await sleep(100);
      }
      const count = () => answered.reduce((sum, n) => sum + n);
      const refused = async () => (await daemon.metrics()).sum('callgate_drops_total', { reason: 'rate_limited' });
      // Each was answered or is counted, but for what the kernel itself dropped.
      const lost = droppedByKernel(daemon.turnPort);
      await until('all of them counted', async () => (await refused()) >= sent - count() - lost);
      const seconds = (Date.now() - begun) / 1000;
      const total = count();
      t.diagnostic(`${sent} sent in ${seconds.toFixed(1)} s, ${total} answered; the other ${others} of 30`);
      assert.ok(total <= 50 * (seconds + 1) + 1, `${total} answers`);
      assert.ok(total >= 50 * (seconds - 1), `${total} answers only`);
      assert.equal(others, 30);
    });
  }

  test('no answer is longer than three times the request', async (t) => {
    await limited({});
    const one = await client();
    const requests = { ...asks };
    for (const [name, number] of Object.entries(method)) requests[`bare ${name}`] = () => encode({ method: number });
    for (const number of [0x00a, 0x00b, 0x00c, 0x0ff, 0xfff]) requests[`method ${number}`] = () => encode({ method: number });
    for (const type of [0x7f01, 0x0018, 0x0022, 0x001e, 0x0003]) {
      requests[`attribute ${type}`] = () => encode({ method: method.allocate, attributes: [[type, Buffer.alloc(4)]] });
      requests[`Binding with attribute ${type}`] = () => encode({ method: method.binding, attributes: [[type, Buffer.alloc(4)]] });
    }
    let most = 0;
    let answers = 0;
    for (const [what, request] of Object.entries(requests)) {
      const asked = request();
      const answer = await one.ask(asked, { timeout: 300 });
      if (!answer) continue;
      answers += 1;
      most = Math.max(most, answer.length / asked.length);
      assert.ok(answer.length <= 3 * asked.length, `${what}: ${asked.length} bytes got ${answer.length}`);
    }
    t.diagnostic(`${answers} of ${Object.keys(requests).length} answered, with at most ${most.toFixed(2)} times the bytes`);
    assert.ok(answers >= 6);
  });
});

describe('bytes per second', () => {
  const limit = 200_000;
  const size = 1000;

  /** Sends five times the limit for three seconds; `arrived` says how many bytes came out. Checks both bounds. */
  async function pump(t, { send, arrived, reasons = 1 }) {
    const before = await daemon.metrics();
    const [from, begun] = [arrived(), Date.now()];
    let sent = 0;
    while (Date.now() - begun < 3_000) {
      const due = ((Date.now() - begun) / 1000) * 5 * limit;
      // Not all at once when time was lost: the kernel would drop them, and count nothing here.
      for (let n = 0; sent < due && n < 20; sent += size, n += 1) send(Buffer.alloc(size));
      await sleep(5);
    }
    const grown = new Map();
    const drops = () => [...grown.values()].reduce((sum, n) => sum + n, 0);
    let got;
    const counted = async () => {
      for (const { name, labels, value } of (await daemon.metrics()).samples) {
        const more = value - before.sum(name, labels);
        if (name === 'callgate_drops_total' && more > 0) grown.set(labels.reason, more);
      }
      got = arrived() - from;
      return drops() >= ((sent - got) / size) * 0.9 * reasons;
    };
    await sleep(200);
    await until('what did not come through counted', counted, { timeout: 20_000, every: 200 }).catch(() => {});
    const seconds = (Date.now() - begun) / 1000;
    t.diagnostic(`sent ${sent}, got ${got} bytes in ${seconds.toFixed(1)} s; drops ${JSON.stringify([...grown])}`);
    // A second's worth may come at once.
    assert.ok(got <= limit * (seconds + 1) + size, `${got} bytes`);
    assert.ok(got >= limit * 2 * 0.8, `${got} bytes only`);
    assert.ok(drops() >= ((sent - got) / size) * 0.9 * reasons, `${drops()} drops counted`);
    return grown;
  }

  for (const transport of ['udp', 'tcp']) {
    test(`of one allocation over ${transport}, to the peer and to the client; another has its own`, async (t) => {
      await limited({ bytes_per_second: limit });
      const port = transport === 'udp' ? daemon.turnPort : daemon.httpPort;
      const [one, two] = await allocate(2, 0, () => ({ transport, port }));
      const [sink, echo] = [await peer(), await peer({ echo: true })];
      assert.equal(await one.bind(0x4000, sink), 0);
      assert.equal(await two.bind(0x4000, echo), 0);
      await pump(t, { send: (bytes) => one.sendOn(0x4000, bytes), arrived: () => sink.bytes });
      two.sendOn(0x4000, 'undisturbed');
      await until('the echo', () => two.packets > 0);
      await sleep(1_500);
      assert.equal(two.packets, 1);
      await pump(t, { send: (bytes) => sink.send(one.relayed, bytes), arrived: () => one.bytes });
    });
  }

  test('of a room: all its members together', async (t) => {
    await limited({ room_bytes_per_second: limit, bytes_per_second: 0 });
    const members = [await member('r', 'ada'), await member('r', 'bob'), await member('other', 'eve'), await member('other', 'dan')];
    const [ada, bob, eve, dan] = await Promise.all(members.map(async ({ credentials }) => client(credentials)));
    for (const one of [ada, bob, eve, dan]) assert.equal((await one.allocate()).code, 0);
    for (const [one, two] of [[ada, bob], [bob, ada], [eve, dan], [dan, eve]]) assert.equal(await one.bind(0x4000, two.relayed), 0);
    const both = (bytes) => {
      ada.sendOn(0x4000, bytes.subarray(size / 2));
      bob.sendOn(0x4000, bytes.subarray(size / 2));
    };
    let told = 0;
    const others = setInterval(() => (told += 1, eve.sendOn(0x4000, 'undisturbed')), 20);
    const grown = await pump(t, { send: both, arrived: () => ada.bytes + bob.bytes }).finally(() => clearInterval(others));
    assert.ok(grown.size >= 1);
    await until('all that the other room says', () => dan.packets >= told, { timeout: 5_000 }).catch(() => {});
    t.diagnostic(`the other room got ${dan.packets} of ${told}`);
    assert.ok(told >= 20 && dan.packets >= 0.95 * told, `the other room got ${dan.packets} packets of ${told}`);
  });

  test('in all', async (t) => {
    await limited({ total_bytes_per_second: limit, bytes_per_second: 0 });
    const [one, two] = await allocate(2, 0, (i) => ({ id: `user-${i}`, from: `127.0.${i + 1}.1` }));
    const sink = await peer();
    assert.equal(await one.bind(0x4000, sink), 0);
    assert.equal(await two.bind(0x4000, sink), 0);
    let turn = 0;
    await pump(t, { send: (bytes) => [one, two][turn++ % 2].sendOn(0x4000, bytes), arrived: () => sink.bytes });
  });
});
