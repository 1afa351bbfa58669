// Addresses that no relay talks to, in every spelling that leads there: asked for by permission, channel and indication, and
// from outside.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, start, until } from '../e2e/support/callgate.mjs';
import { open, openPeer } from './turn.mjs';

/** IPv4 addresses that are nobody's business; each is tried in every way that IPv6 has to say it, too. */
const forbidden = {
  'this network': ['0.0.0.0', '0.1.2.3'],
  'loopback': ['127.0.0.1', '127.0.0.53', '127.255.255.254'],
  'private': ['10.0.0.1', '172.16.0.1', '172.31.255.254', '192.168.1.1'],
  'carrier-grade NAT': ['100.64.0.1', '100.127.255.254'],
  'link-local': ['169.254.1.1'],
  'metadata services': ['169.254.169.254', '169.254.170.2', '100.100.100.200'],
  'documentation': ['192.0.2.1', '198.51.100.1', '203.0.113.1'],
  'benchmarking': ['198.18.0.1', '198.19.255.254'],
  'protocol assignments': ['192.0.0.1', '192.0.0.192'],
  'multicast': ['224.0.0.1', '239.255.255.250'],
  'reserved and broadcast': ['240.0.0.1', '255.255.255.255'],
};
const hex = (address) => {
  const [a, b, c, d] = address.split('.').map(Number);
  return [((a << 8) | b).toString(16), ((c << 8) | d).toString(16)];
};
const spellings = {
  'IPv4-mapped': ([high, low]) => `::ffff:${high}:${low}`,
  'IPv4-compatible': ([high, low]) => `::${high}:${low}`,
  'IPv4-translated': ([high, low]) => `::ffff:0:${high}:${low}`,
  'NAT64': ([high, low]) => `64:ff9b::${high}:${low}`,
  'NAT64 of a site': ([high, low]) => `64:ff9b:1::${high}:${low}`,
  '6to4': ([high, low]) => `2002:${high}:${low}::1`,
  'Teredo': ([high, low]) => `2001:0:4136:e378:8000:63bf:${[high, low].map((group) => (parseInt(group, 16) ^ 0xffff).toString(16)).join(':')}`,
  'Teredo, by its server': ([high, low]) => `2001:0:${high}:${low}:8000:63bf:f7f7:f7f7`,
};
const v6 = ['::', '::1', 'fe80::1', 'fec0::1', 'fc00::1', 'fd00:ec2::254', 'ff02::1', 'ff0e::1', '2001:db8::1', '100::1', '2001:2::1'];

let daemon;
let clients;
let things = [];

before(async () => {
  // Nothing is allowed beyond what is allowed to everybody.
  daemon = await start({ config: { turn: { peers: { allow: [] } } } });
  clients = {};
  for (const family of [4, 6]) {
    clients[family] = await open({ port: daemon.turnPort, ...credentials(daemon.secret) });
    assert.equal((await clients[family].allocate({ family })).code, 0);
  }
});
after(async () => {
  Object.values(clients ?? {}).forEach((client) => client.close());
  assert.equal(await daemon?.stop(), 0);
});
afterEach(() => {
  things.forEach((thing) => thing.close());
  things = [];
});

const drops = async () => (await daemon.metrics()).sum('callgate_drops_total');

/** Neither permission nor channel is given, and what is sent all the same is dropped and counted. */
async function refused(address, port = 9) {
  const client = clients[address.includes(':') ? 6 : 4];
  const peer = { address, port };
  const own = address === client.relayed.address;
  assert.equal(await client.permit(peer), own ? 0 : 403, `permission for ${address}`);
  assert.equal(await client.bind(0x4000, peer), 403, `channel to ${address}`);
  client.send(peer, 'knock');
}

for (const [what, addresses] of Object.entries(forbidden)) {
  test(`${what}: ${addresses.join(', ')}`, async () => {
    const before = await drops();
    let tried = 0;
    for (const address of addresses) {
      await refused(address);
      tried += 1;
      for (const spell of Object.values(spellings)) {
        await refused(spell(hex(address)));
        tried += 1;
      }
    }
    await until(`${tried} drops counted`, async () => (await drops()) >= before + tried);
  });
}

test(`IPv6: ${v6.join(', ')}`, async () => {
  const before = await drops();
  for (const address of v6) await refused(address);
  await until('the drops counted', async () => (await drops()) >= before + v6.length);
});

test('an address that is nobody in particular is not refused', async () => {
  assert.equal(await clients[4].permit({ address: '9.9.9.9', port: 9 }), 0);
  assert.equal(await clients[6].permit({ address: '2a00:1450::1', port: 9 }), 0);
});

describe('with loopback allowed by the operator', () => {
  let allowed;
  before(async () => {
    allowed = await start();
  });
  after(async () => assert.equal(await allowed?.stop(), 0));
  const allocate = async (options) => {
    const client = await open({ port: allowed.turnPort, ...credentials(allowed.secret), ...options });
    things.push(client);
    assert.equal((await client.allocate(options)).code, 0);
    return client;
  };

  test("the daemon's own ports are no peers", async () => {
    const client = await allocate();
    const count = async () => (await allowed.metrics()).sum('callgate_drops_total', { reason: 'peer_denied' });
    assert.equal(await client.permit({ address: '127.0.0.1', port: 1 }), 0);
    const before = await count();
    for (const port of [allowed.turnPort, allowed.httpPort]) {
      assert.equal(await client.bind(0x4000, { address: '127.0.0.1', port }), 403, `${port}`);
      client.send({ address: '127.0.0.1', port }, 'hello me');
    }
    await until('the drops counted', async () => (await count()) >= before + 2);
  });

  test('nor is what is sent to a relayed address that nobody holds', async () => {
    const client = await allocate();
    const other = await allocate();
    const gone = other.relayed;
    assert.equal(await client.permit(gone), 0);
    await other.refresh(0);
    const count = async () => (await allowed.metrics()).sum('callgate_drops_total', { reason: 'no_peer_allocation' });
    const before = await count();
    client.send(gone, 'anybody there?');
    await until('the drop counted', async () => (await count()) === before + 1);
  });

  test('and a peer gets nothing in without a permission, whatever it sends', async () => {
    const client = await allocate();
    const peer = await openPeer({ address: '127.0.0.9' });
    things.push(peer);
    for (let n = 0; n < 20; n++) peer.send(client.relayed, 'let me in');
    await until('the drops counted', async () => (await allowed.metrics()).sum('callgate_drops_total', { reason: 'no_permission' }) >= 20);
    assert.equal(client.packets, 0);
  });
});

test('what is forbidden does not get in either', async () => {
  const peer = await openPeer({ address: '127.0.0.9' });
  things.push(peer);
  const before = await drops();
  for (let n = 0; n < 20; n++) peer.send(clients[4].relayed, 'let me in');
  await until('twenty drops counted', async () => (await drops()) >= before + 20);
  await sleep(50);
  assert.equal(clients[4].packets, 0);
});
