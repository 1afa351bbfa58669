// Two browsers in two private networks call each other through a public callgate. Needs root (network namespaces).

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { start, until } from '../support/callgate.mjs';
import { openPeer, pingBothWays } from './call.mjs';
import { buildNetwork, internet, serverAddresses, serverName } from './network.mjs';

const origin = `http://${serverName}:3000`;
let network, daemon, calls;
let peers = [];

before(async () => {
  network = buildNetwork();
  daemon = await start({
    netns: network.server,
    config: {
      public: { addresses: serverAddresses },
      http: { port: 3000, listen: ['[::]:3000'] },
      turn: {
        port: 3478,
        listen: ['[::]:3478'],
        relay_ports: '49152-50151',
        peers: { allow: internet },
        limits: { lifetime: '60s' },
      },
      rooms: { grace: '2s' },
    },
  });
  calls = 0;
});

after(async () => {
  assert.equal(await daemon?.stop(), 0);
  network?.close();
});

afterEach(async () => {
  await Promise.all(peers.map((peer) => peer.close()));
  peers = [];
});

/** Opens both browsers in one room and waits until each sees the other and data flows both ways. */
async function call(title, places, { relay = false } = {}) {
  const room = `lab-${++calls}`;
  peers = await Promise.all(
    places.map((place) => openPeer({ name: place, origin, room, relay, netns: network.client[place] })),
  );
  await Promise.all(peers.map((peer) => peer.connected()));
  await Promise.all(peers.map((peer) => peer.watch()));
  const trips = await pingBothWays(...peers);
  await Promise.all(peers.map((peer) => peer.screenshot(title)));
  const pairs = await Promise.all(peers.map((peer) => peer.selected()));
  return { peers, pairs, trips };
}

const relayed = (pair) => pair.local === 'relay' || pair.remote === 'relay';

function report(t, { pairs, trips }) {
  pairs.forEach((pair, i) => {
    t.diagnostic(`${pair.local} ↔ ${pair.remote} over ${pair.protocol}, data channel ${trips[i].toFixed(1)} ms`);
  });
}

/** Everything that one call made is gone again. */
async function nothingIsLeft(timeout = 15_000) {
  let left;
  await until(
    'nothing left',
    async () => {
      const m = await daemon.metrics();
      left = ['connections', 'peers', 'rooms', 'allocations'].filter((name) => m.sum(`callgate_${name}`) !== 0);
      return left.length === 0;
    },
    { timeout },
  ).catch((error) => assert.fail(`${error.message}: ${left}`));
}

describe('a call connects', () => {
  for (const [a, b] of [['symA', 'symB'], ['symA', 'coneC'], ['v6only', 'symB']]) {
    test(`${a} with ${b}, through the relay`, { timeout: 90_000 }, async (t) => {
      const made = await call(`${a}-${b}`, [a, b]);
      report(t, made);
      assert.ok(made.pairs.every(relayed), JSON.stringify(made.pairs));
      assert.ok((await daemon.metrics()).sum('callgate_allocations') >= 1);
    });
  }

  test('symA with symB, relay forced on both sides', { timeout: 90_000 }, async (t) => {
    const before = await daemon.metrics();
    const made = await call('symA-symB-forced', ['symA', 'symB'], { relay: true });
    report(t, made);
    for (const pair of made.pairs) assert.deepEqual([pair.local, pair.remote], ['relay', 'relay']);
    const now = await daemon.metrics();
    assert.ok(now.sum('callgate_allocations') >= 2);
    const packets = now.sum('callgate_relay_packets_total') - before.sum('callgate_relay_packets_total');
    assert.ok(packets > 100, `only ${packets} packets were relayed`);
  });

  test('coneC with coneD, directly', { timeout: 90_000 }, async (t) => {
    const made = await call('coneC-coneD', ['coneC', 'coneD']);
    report(t, made);
    for (const pair of made.pairs) assert.ok(!relayed(pair), JSON.stringify(pair));
  });

  test('and after all these calls nothing is left in the daemon', { timeout: 60_000 }, async () => {
    assert.ok((await daemon.metrics()).sum('callgate_joins_total') >= 10);
    await nothingIsLeft();
  });
});
