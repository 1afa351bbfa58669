// The newcomer's case: everything on one machine, the page on localhost, and the relay forced. Garbage arrives meanwhile.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { start, until } from '../support/callgate.mjs';
import { openPeer, pingBothWays } from './call.mjs';
import { throwTcp, throwUdp } from './garbage.mjs';

let daemon;
let peers = [];

before(async () => {
  daemon = await start({ config: { rooms: { grace: '1s' }, limits: { connections_per_ip: 0 } } });
});
after(async () => assert.equal(await daemon?.stop(), 0));
afterEach(async () => {
  await Promise.all(peers.map((peer) => peer.close()));
  peers = [];
});

async function call(room) {
  const origin = `http://localhost:${daemon.httpPort}`;
  peers = await Promise.all(['left', 'right'].map((name) => openPeer({ name, origin, room, relay: true })));
  await Promise.all(peers.map((peer) => peer.connected()));
  await Promise.all(peers.map((peer) => peer.watch()));
}

test('two browsers on one machine talk through the relay on loopback', { timeout: 400_000 }, async (t) => {
  await call('loopback');
  const trips = await pingBothWays(...peers);
  t.diagnostic(`data channel ${trips.map((trip) => trip.toFixed(1)).join(' and ')} ms`);
  for (const peer of peers) {
    const { local, remote } = await peer.way();
    await peer.screenshot('localhost');
    assert.deepEqual([local, remote], ['relay', 'relay']);
  }
});

test('garbage on every port leaves a call alone', { timeout: 400_000 }, async (t) => {
  await call('garbage');
  const before = await daemon.metrics();
  const hosts = ['127.0.0.1', '::1'];
  const relayed = await Promise.all(peers.map(async (peer) => (await peer.selected()).port));
  await Promise.all([
    ...hosts.map((host) => throwUdp({ host, port: daemon.turnPort })),
    ...hosts.map((host) => throwTcp({ host, port: daemon.httpPort })),
    ...relayed.map((port) => throwUdp({ host: '127.0.0.1', port, count: 500 })),
    ...peers.map((peer) => peer.watch(40)),
  ]);
  const now = await daemon.metrics();
  const dropped = now.sum('callgate_drops_total') - before.sum('callgate_drops_total');
  t.diagnostic(`${dropped} drops counted`);
  assert.ok(dropped > 1_000, `only ${dropped} drops counted`);
  assert.equal(now.sum('callgate_allocations'), before.sum('callgate_allocations'));

  await Promise.all(peers.map((peer) => peer.watch()));
  await pingBothWays(...peers);
  for (const peer of peers) assert.ok(await peer.page.evaluate(() => window.recorded.length === 1), 'the call was made anew');
});

test('afterwards nothing is left', { timeout: 400_000 }, async () => {
  await until('nothing left', async () => {
    const m = await daemon.metrics();
    return ['connections', 'peers', 'rooms', 'allocations'].every((name) => m.sum(`callgate_${name}`) === 0);
  });
  assert.equal(await daemon.get('/health').then(() => 'answers'), 'answers');
});
