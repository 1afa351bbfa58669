// Two browsers in two private networks call each other through a public callgate. Needs root (network namespaces).

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isRelayed } from './call.mjs';
import { useLab } from './lab.mjs';

const lab = useLab({ places: ['symA', 'symB', 'coneC', 'coneD', 'v6only'], config: { rooms: { grace: '2s' } } });
const limits = { timeout: 400_000 };

async function call(t, places, options) {
  const made = await lab.call(`${places.join('-')}${options?.relay ? '-forced' : ''}`, places, options);
  made.pairs.forEach((pair, i) => {
    const { local, remote, protocol } = pair;
    t.diagnostic(`${places[i]}: ${local} ↔ ${remote} over ${protocol}, data channel ${made.trips[i].toFixed(1)} ms`);
  });
  return made.pairs;
}

describe('a call connects', () => {
  for (const [places, names] of [
    [['symA', 'symB'], 'symA with symB'],
    [['symA', 'coneC'], 'symA with coneC'],
    [['v6only', 'symB'], 'one that has IPv6 only with symB, which has IPv4 only'],
  ]) {
    test(`${names}, through the relay`, limits, async (t) => {
      for (const place of places) {
        const v6 = lab.network.addresses(place).some((address) => address.includes(':'));
        const v4 = lab.network.addresses(place).some((address) => address.includes('.'));
        assert.deepEqual([place, v4, v6], [place, place !== 'v6only', place === 'v6only']);
      }
      const pairs = await call(t, places);
      assert.ok(pairs.every(isRelayed), JSON.stringify(pairs));
      assert.ok((await lab.daemon.metrics()).sum('callgate_allocations') >= 1);
    });
  }

  test('symA with symB, relay forced on both sides', limits, async (t) => {
    const before = await lab.daemon.metrics();
    for (const { local, remote } of await call(t, ['symA', 'symB'], { relay: true })) {
      assert.deepEqual([local, remote], ['relay', 'relay']);
    }
    const now = await lab.daemon.metrics();
    assert.ok(now.sum('callgate_allocations') >= 2);
    for (const name of ['callgate_relay_packets_total', 'callgate_relay_in_process_packets_total']) {
      const packets = now.sum(name) - before.sum(name);
      assert.ok(packets > 100, `${name} grew by ${packets} only`);
    }
  });

  test('coneC with coneD, directly', limits, async (t) => {
    const pairs = await call(t, ['coneC', 'coneD'], { direct: true });
    assert.ok(!pairs.some(isRelayed), JSON.stringify(pairs));
  });

  test('and after all these calls nothing is left in the daemon', { timeout: 400_000 }, async () => {
    assert.ok((await lab.daemon.metrics()).sum('callgate_joins_total') >= 10);
    await lab.nothingIsLeft();
  });
});
