// npm's werift and node-datachannel as members of our rooms, over the relays that their join is answered with.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { start, until } from '../e2e/support/callgate.mjs';

const script = join(import.meta.dirname, 'webrtc_pair.mjs');
let daemon;
let rooms = 0;

before(async () => {
  daemon = await start({ tls: true, config: { rooms: { grace: '0s' } } });
});
after(async () => assert.equal(await daemon?.stop(), 0));

/** Lets the pair try, and tells what it made of it; see webrtc_pair.mjs. */
async function pair(left, right, { transport = 'udp', apart = false, patience } = {}) {
  rooms += 1;
  const names = [`pair-${rooms}`, apart ? `pair-${rooms}-apart` : `pair-${rooms}`];
  const settings = JSON.stringify({ url: daemon.url, left, right, transport, rooms: names, patience });
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: daemon.caFile };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [script, settings], { env, timeout: 240_000 });
  return { ...JSON.parse(stdout.trim().split('\n').at(-1)), stderr };
}

async function talks(t, left, right, options) {
  const before = await daemon.metrics();
  const made = await pair(left, right, options);
  const said = JSON.stringify(made);
  t.diagnostic(said);
  assert.ok(made.connected, said);
  for (const end of [made.left, made.right]) assert.equal(end.echoes, made.texts, said);
  const now = await daemon.metrics();
  const grown = (name) => now.sum(name) - before.sum(name);
  assert.ok(grown('callgate_allocations_total') >= 2, 'each has its relay');
  // Its own socket sends too, whatever its policy, and may find the other's relay first.
  const straight = [left, right].includes('node-datachannel');
  const packets = grown(straight ? 'callgate_relay_packets_total' : 'callgate_relay_in_process_packets_total');
  assert.ok(packets >= 2 * made.texts, `${packets} packets were relayed`);
}

describe('werift talks to werift', () => {
  for (const transport of ['udp', 'tcp', 'tls']) {
    test(`through the relay over ${transport}`, (t) => talks(t, 'werift', 'werift', { transport }));
  }
});

describe('node-datachannel', () => {
  // Its TURN is UDP only.
  test('talks to itself through the relay', (t) => talks(t, 'node-datachannel', 'node-datachannel'));
  test('calls werift', (t) => talks(t, 'node-datachannel', 'werift'));
  test('is called by werift', (t) => talks(t, 'werift', 'node-datachannel'));
});

test('of two rooms: neither gets through to the other', async (t) => {
  for (const [left, right] of [['node-datachannel', 'werift'], ['werift', 'werift']]) {
    const before = await daemon.metrics();
    const made = await pair(left, right, { apart: true, patience: 8_000 });
    t.diagnostic(JSON.stringify(made));
    assert.equal(made.connected, false);
    const now = await daemon.metrics();
    const grown = (name) => now.sum(name) - before.sum(name);
    assert.ok(grown('callgate_allocations_total') >= 2, 'each had its relay');
    for (const name of ['callgate_relay_packets_total', 'callgate_relay_in_process_packets_total']) assert.equal(grown(name), 0, name);
  }
});

test('and when they have left nothing of them is left', () =>
  until('nothing left', async () => {
    const m = await daemon.metrics();
    return ['connections', 'peers', 'rooms', 'allocations'].every((name) => m.sum(`callgate_${name}`) === 0);
  }));
