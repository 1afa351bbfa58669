// The server behind 1:1 NAT, as in most clouds: it has a private address only, and is known by a public one, under which it
// does not reach itself. Needs root (network namespaces).

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isRelayed } from './call.mjs';
import { useLab } from './lab.mjs';
import { serverAddresses } from './network.mjs';

const lab = useLab({ places: ['symA', 'symB'], oneToOne: true, config: { rooms: { grace: '2s' } } });
const limits = { timeout: 400_000 };

/** Makes the call, and tells how many packets went from relay to relay in the daemon. */
async function call(t, title, relay) {
  const before = await lab.daemon.metrics();
  const { pairs, trips } = await lab.call(title, ['symA', 'symB'], { relay });
  const name = 'callgate_relay_in_process_packets_total';
  const inProcess = (await lab.daemon.metrics()).sum(name) - before.sum(name);
  pairs.forEach(({ local, remote, protocol }, i) => t.diagnostic(`${local} ↔ ${remote} over ${protocol}, data channel ${trips[i].toFixed(1)} ms`));
  t.diagnostic(`${inProcess} packets from relay to relay`);
  return { pairs, inProcess };
}

describe('with the server behind 1:1 NAT a call connects', () => {
  test('from relay to relay, without leaving the daemon', limits, async (t) => {
    const { pairs, inProcess } = await call(t, 'one-to-one-forced', true);
    for (const { local, remote } of pairs) assert.deepEqual([local, remote], ['relay', 'relay']);
    assert.ok(inProcess > 100, `${inProcess} packets only`);
    const [address] = await Promise.all(lab.peers.map((peer) => peer.relayAddress()));
    assert.equal(address, serverAddresses[0], 'the relay is known by the public address');
  });

  test('with the relay forced on one side', limits, async (t) => {
    const { pairs } = await call(t, 'one-to-one-one-side', ['symA']);
    assert.equal(pairs[0].local, 'relay');
    assert.ok(pairs.every(isRelayed));
  });

  test('with the browsers free to choose', limits, async (t) => {
    const { pairs } = await call(t, 'one-to-one', false);
    assert.ok(pairs.every(isRelayed));
  });

  test('and the server does not reach itself under its public address', limits, async () => {
    assert.equal(lab.network.reaches('server', 'tcp 3000'), false);
    assert.equal(lab.network.reaches('symA', 'tcp 3000'), true);
  });

  test('and after all these calls nothing is left in the daemon', { timeout: 400_000 }, () => lab.nothingIsLeft());
});
