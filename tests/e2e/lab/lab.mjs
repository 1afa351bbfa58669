// The lab as test files use it: the network, a public callgate in it, and calls between its places.

import assert from 'node:assert/strict';
import { after, afterEach, before } from 'node:test';
import { start, until } from '../support/callgate.mjs';
import { openPeer, pingBothWays } from './call.mjs';
import { buildNetwork, insideAddress, internet, serverAddresses, serverName } from './network.mjs';

/** Where a place's page comes from, if not from the plain port. */
const origins = { only443: `https://${serverName}` };

/**
 * Sets the lab up for the tests of this file: `places` as in network.mjs, `config` over the daemon's; `oneToOne` puts the
 * server behind 1:1 NAT. What it returns is filled in before the first test.
 */
export function useLab({ places, oneToOne = false, config = {} }) {
  const lab = { network: undefined, daemon: undefined, peers: [] };
  let calls = 0;

  before(async () => {
    lab.network = buildNetwork({ places, oneToOne });
    lab.daemon = await start({
      netns: lab.network.server,
      tls: true,
      config: {
        public: { addresses: oneToOne ? [`${serverAddresses[0]}/${insideAddress}`] : serverAddresses },
        http: { port: 3000, listen: ['[::]:3000'] },
        tls: { port: 443, listen: ['[::]:443'] },
        turn: { port: 3478, listen: ['[::]:3478'], relay_ports: '49152-50151', peers: { allow: internet } },
        ...config,
      },
    });
  });
  after(async () => {
    const code = await lab.daemon?.stop();
    lab.network?.close();
    assert.equal(code, 0);
  });
  afterEach(async () => {
    await Promise.all(lab.peers.map((peer) => peer.close()));
    lab.peers = [];
  });

  /**
   * Opens a browser in each place, all in one room, and waits until each sees video and data flows both ways. `relay`
   * forces the relay, for all or for the places listed.
   */
  lab.call = async (title, places, { relay = false, direct = false } = {}) => {
    const room = `lab-${++calls}`;
    for (const name of places) {
      const origin = origins[name] ?? `http://${serverName}:3000`;
      const forced = Array.isArray(relay) ? relay.includes(name) : relay;
      const netns = lab.network.client[name];
      lab.peers.push(await openPeer({ name, origin, room, relay: forced, netns, ca: lab.daemon.caFile }));
    }
    await Promise.all(lab.peers.map((peer) => peer.connected()));
    await Promise.all(lab.peers.map((peer) => peer.watch()));
    const trips = await pingBothWays(...lab.peers);
    const pairs = await Promise.all(lab.peers.map((peer) => peer.way({ direct })));
    await Promise.all(lab.peers.map((peer) => peer.screenshot(title)));
    return { peers: lab.peers, pairs, trips };
  };

  /** Waits until everything that calls made in the daemon is gone again. */
  lab.nothingIsLeft = async (timeout = 90_000) => {
    let left;
    const look = async () => {
      const m = await lab.daemon.metrics();
      left = ['connections', 'peers', 'rooms', 'allocations'].filter((name) => m.sum(`callgate_${name}`) !== 0);
      return left.length === 0;
    };
    await until('nothing left', look, { timeout }).catch((error) => assert.fail(`${error.message}: ${left}`));
  };
  return lab;
}
