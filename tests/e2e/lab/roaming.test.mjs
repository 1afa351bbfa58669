// A client that changes networks in mid-call: one interface goes, another comes. Needs root (network namespaces).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useLab } from './lab.mjs';

const lab = useLab({ places: ['roamer', 'symB'], config: { rooms: { grace: '20s' } } });

/** Swaps the roamer's network, and says after how many seconds both see moving pictures again. */
async function swap(t, how) {
  const before = lab.network.addresses('roamer');
  const users = await Promise.all(lab.peers.map((peer) => peer.iceUser()));
  lab.network.swap('roamer');
  const begun = Date.now();
  const after = lab.network.addresses('roamer');
  assert.notDeepEqual(before, after);
  const times = await Promise.all(
    lab.peers.map(async (peer) => {
      await peer.flowsAgain();
      return (Date.now() - begun) / 1000;
    }),
  );
  t.diagnostic(`${how}: from ${before.join()} to ${after.join()}; pictures again after ${times.map((s) => s.toFixed(1)).join(' and ')} s`);
  const pairs = await Promise.all(lab.peers.map((peer) => peer.selected()));
  t.diagnostic(pairs.map(({ local, remote, protocol }) => `${local} ↔ ${remote} over ${protocol}`).join('; '));
  for (const [i, peer] of lab.peers.entries()) {
    assert.equal(await peer.others(), 1);
    assert.ok(users[i]);
    assert.notEqual(await peer.iceUser(), users[i], 'ICE was not restarted');
    assert.ok(await peer.page.evaluate(() => window.recorded.length === 1), 'the call was made anew');
  }
  // (Two to seven where nothing else goes on.)
  assert.ok(Math.max(...times) <= 30, `after ${times} s only`);
}

for (const [how, relay] of [['relay on both sides', true], ['relay on one side', false]]) {
  test(`a call goes on when a client's network changes, and changes back (${how})`, { timeout: 400_000 }, async (t) => {
    const { peers } = await lab.call(`roaming-${relay ? 'forced' : 'free'}`, ['roamer', 'symB'], { relay });
    await swap(t, 'there');
    await swap(t, 'and back');
    await Promise.all(peers.map((peer) => peer.watch(30)));
  });
}

// The connections of the networks that are gone are found out by time-outs.
test('and after all that nothing is left in the daemon', { timeout: 240_000 }, () => lab.nothingIsLeft(180_000));
