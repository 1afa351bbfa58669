// Clients behind firewalls that let no UDP out, or TCP to port 443 alone. Needs root (network namespaces).

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isRelayed } from './call.mjs';
import { useLab } from './lab.mjs';

const lab = useLab({ places: ['noUdp', 'only443', 'v6noUdp', 'symA', 'symB'], config: { rooms: { grace: '2s' } } });
const limits = { timeout: 400_000 };

/** What is left to each of them. */
const legs = { noUdp: ['tcp', 'tls'], v6noUdp: ['tcp', 'tls'], only443: ['tls'], symA: ['udp'], symB: ['udp'] };

async function call(t, places, { relay } = {}) {
  const { peers, pairs, trips } = await lab.call(places.join('-'), places, { relay });
  for (const [i, { name, page }] of peers.entries()) {
    const { local, remote, protocol } = pairs[i];
    t.diagnostic(`${name}: ${local} ↔ ${remote} over ${protocol}, data channel ${trips[i].toFixed(1)} ms`);
    assert.ok(isRelayed(pairs[i]), JSON.stringify(pairs[i]));
    assert.ok(legs[name].includes(protocol), `${name} talks over ${protocol}`);
    const said = await page.getByTestId('route-text').textContent();
    assert.match(said, new RegExp(`^Relayed over ${protocol.toUpperCase()}`));
  }
  return pairs;
}

describe('a call connects', () => {
  test('from where all UDP is dropped, by relay over TCP', limits, async (t) => {
    const [{ local }] = await call(t, ['noUdp', 'symA']);
    assert.equal(local, 'relay');
  });

  test('from where only TCP port 443 is open, by relay over TLS on the port of the page', limits, async (t) => {
    const [{ local, protocol }] = await call(t, ['only443', 'symA']);
    assert.deepEqual([local, protocol], ['relay', 'tls']);
    const page = lab.peers[0].page.url();
    assert.ok(page.startsWith('https://callgate.test/'), page);
  });

  test('between two such places', limits, async (t) => {
    for (const { local, remote } of await call(t, ['noUdp', 'only443'])) assert.deepEqual([local, remote], ['relay', 'relay']);
  });

  test('from IPv6 where all UDP is dropped, to IPv4 only', limits, async (t) => {
    const [{ local }] = await call(t, ['v6noUdp', 'symB']);
    assert.equal(local, 'relay');
  });

  test('and after all these calls nothing is left in the daemon', { timeout: 400_000 }, async () => {
    assert.ok((await lab.daemon.metrics()).sum('callgate_joins_total') >= 8);
    await lab.nothingIsLeft();
  });
});

test('the firewalls drop what they say they drop', limits, async () => {
  // Else all of the above would prove nothing.
  const reach = (place, port) => lab.network.reaches(place, port);
  assert.deepEqual(
    { noUdp: reach('noUdp', 'udp 3478'), page: reach('noUdp', 'tcp 3000') },
    { noUdp: false, page: true },
  );
  assert.deepEqual(
    { udp: reach('only443', 'udp 3478'), plain: reach('only443', 'tcp 3000'), turn: reach('only443', 'tcp 3478'), tls: reach('only443', 'tcp 443') },
    { udp: false, plain: false, turn: false, tls: true },
  );
  assert.deepEqual({ v6: reach('v6noUdp', 'udp 3478'), page: reach('v6noUdp', 'tcp 3000') }, { v6: false, page: true });
  assert.deepEqual({ udp: reach('symA', 'udp 3478'), page: reach('symA', 'tcp 3000') }, { udp: true, page: true });
});
