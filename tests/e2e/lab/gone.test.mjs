// A browser that ends without a word, and one that falls silent.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../support/callgate.mjs';
import { useLab } from './lab.mjs';

const places = ['symA', 'symB'];
const lab = useLab({ places, config: { rooms: { grace: '2s' } } });
/** The transport's own ping finds a silent one out: 25 s + 20 s, and then the grace. */
const noPong = 120_000;

/** The daemon's figures as one line of numbers. */
async function figures() {
  const m = await lab.daemon.metrics();
  return Object.fromEntries(
    ['connections', 'peers', 'rooms', 'allocations', 'tasks'].map((name) => [name, m.sum(`callgate_${name}`)]),
  );
}

/** A call whose figures are on the counters; resolves to them, and to those of the idle daemon before. */
async function call(title) {
  const idle = await figures();
  assert.deepEqual([idle.connections, idle.peers, idle.rooms, idle.allocations], [0, 0, 0, 0]);
  assert.ok(idle.tasks > 0, 'callgate_tasks is not measured');
  const { peers } = await lab.call(title, places, { relay: true });
  const busy = await figures();
  assert.deepEqual([busy.connections, busy.peers, busy.rooms], [2, 2, 1]);
  assert.ok(busy.allocations >= 2, `${busy.allocations} allocations`);
  return { title, idle, busy, left: peers[1] };
}

/** The one who stays is told, the other's things go at once; then the one who stays leaves, and all is as before. */
async function goneFor({ title, idle, busy, left }, timeout) {
  await left.wait('told that the other is gone', async () => (await left.others()) === 0, { timeout });
  await until(
    "the other's connection, membership and allocations gone",
    async () => {
      const now = await figures();
      return now.connections === 1 && now.peers <= 1 && now.allocations < busy.allocations;
    },
    { timeout: 60_000 },
  );
  await left.screenshot(`${title}-after`);
  await left.close();
  await lab.nothingIsLeft();
  await until('no task left over', async () => (await figures()).tasks <= idle.tasks);
}

/** Both are in the room yet and see each other; then both leave, and nothing is left. */
async function stillTogether() {
  await Promise.all(lab.peers.map((peer) => peer.watch(30)));
  for (const peer of lab.peers) assert.equal(await peer.others(), 1);
  assert.equal((await figures()).rooms, 1);
  await Promise.all(lab.peers.map((peer) => peer.close()));
  await lab.nothingIsLeft();
}

const killAll = (signal) => lab.network.pids('symA').forEach((pid) => process.kill(pid, signal));

test('a browser killed in mid-call: the other is told, and nothing is left', { timeout: 400_000 }, async () => {
  const made = await call('killed');
  killAll('SIGKILL');
  await goneFor(made, 20_000);
});

test('a browser silent for some seconds goes on', { timeout: 400_000 }, async () => {
  await call('pause');
  lab.network.silence('symA');
  await sleep(8_000);
  lab.network.heal('symA');
  await stillTogether();
});

test('a browser on a slow line goes on', { timeout: 400_000 }, async () => {
  await call('slow');
  lab.network.slow('symA', 20);
  await sleep(10_000);
  for (const peer of lab.peers) assert.equal(await peer.others(), 1);
  lab.network.heal('symA');
  await stillTogether();
});

test('a browser silent for good: the other is told, and nothing is left', { timeout: 400_000 }, async () => {
  const made = await call('silent');
  lab.network.silence('symA');
  await goneFor(made, noPong);
  lab.network.heal('symA');
});

test('a frozen browser, while the other writes on: the other is told, and nothing is left', { timeout: 400_000 }, async () => {
  const made = await call('frozen');
  killAll('SIGSTOP');
  try {
    await made.left.page.evaluate(async () => {
      const text = 'and another thing. '.repeat(150);
      for (let i = 0; i < 100; i++) await window.callgate.room.chat(text).catch(() => {});
    });
    await goneFor(made, noPong);
  } finally {
    killAll('SIGKILL');
  }
});
