// What a room's credentials are good for: the room's relays and addresses, for as long as one is a member, and nothing else.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { start, until } from '../e2e/support/callgate.mjs';
import { join } from '../e2e/support/member.mjs';
import { open, openPeer } from './turn.mjs';

const token = 'the operator of this test';
let daemon;
let things = [];
let rooms = 0;

before(async () => {
  // The whole of loopback is open to relays: what is refused here is refused for the room's sake.
  daemon = await start({ tls: true, config: { rooms: { grace: '0s' }, admin: { token } } });
});
after(async () => assert.equal(await daemon?.stop(), 0));
afterEach(() => {
  things.forEach((thing) => thing.close());
  things = [];
});

const keep = (thing) => {
  things.push(thing);
  return thing;
};

/** A member that comes from the address `from`, with its relay. */
async function member(room, from, { transport = 'udp', name = from } = {}) {
  const seat = keep(await join(daemon.url, room, { name, options: { localAddress: from } }));
  const client = keep(await connect(seat.credentials, from, transport));
  assert.equal((await client.allocate()).code, 0);
  return { ...seat, client, relayed: client.relayed };
}

function connect(credentials, from, transport = 'udp') {
  const port = { udp: daemon.turnPort, tcp: daemon.turnPort, tls: daemon.tlsPort }[transport];
  return open({ port, transport, from, ...credentials, tls: { ca: daemon.ca, servername: 'localhost' } });
}

const drops = async (reason) => (await daemon.metrics()).sum('callgate_drops_total', reason ? { reason } : {});
/** Asks as the operator. */
async function operate(path, method, body) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const answer = await fetch(`${daemon.url}${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.text()}`);
}
const freshRoom = () => `abuse-${(rooms += 1)}`;

describe('a member of another room', () => {
  for (const transport of ['udp', 'tcp', 'tls']) {
    test(`gets no way to a relay or an address of this room, over ${transport}`, async () => {
      const [north, south] = [freshRoom(), freshRoom()];
      const ada = await member(north, '127.0.1.1');
      const bob = await member(north, '127.0.1.2');
      const eve = await member(south, '127.0.6.6', { transport });
      const dan = await member(south, '127.0.6.7');
      const home = keep(await openPeer({ address: '127.0.9.9' }));
      await bob.announce(home);

      // What is the room's own works.
      assert.deepEqual([await ada.client.permit(bob.relayed), await ada.client.permit(home)], [0, 0]);
      assert.deepEqual([await bob.client.permit(ada.relayed), await dan.client.permit(eve.relayed)], [0, 0]);
      ada.client.send(home, 'to what a member said of itself');
      await until('the packet', () => home.packets === 1);
      home.send(ada.relayed, 'and back');
      await until('the answer', () => ada.client.packets === 1);

      for (const target of [ada.relayed, bob.relayed, home, { address: '127.0.1.1', port: ada.client.local.port }]) {
        const what = JSON.stringify(target);
        assert.equal(await eve.client.permit(target), 403, `permission for ${what}`);
        assert.equal(await eve.client.permit(dan.relayed, target), 403, `permission for ${what} beside a good one`);
        assert.equal(await eve.client.bind(0x4001, target), 403, `channel to ${what}`);
        const before = await drops();
        eve.client.send(target, 'by indication');
        eve.client.sendOn(0x4001, 'by channel');
        await until(`two drops counted for ${what}`, async () => (await drops()) >= before + 2);
      }
      assert.equal(await eve.client.bind(0x4002, dan.relayed), 0);
      eve.client.sendOn(0x4002, 'to its own room');
      await until('the packet in its own room', () => dan.client.packets === 1);
      await sleep(100);
      assert.deepEqual([ada.client.packets, bob.client.packets, home.packets], [1, 0, 1]);
    });
  }

  test('gets nothing in by sending to a relay of this room from outside', async () => {
    const ada = await member(freshRoom(), '127.0.1.1');
    const bob = await member(ada.room, '127.0.1.2');
    assert.equal(await ada.client.permit(bob.relayed), 0);
    const stranger = keep(await openPeer({ address: '127.0.66.6' }));
    const before = await drops();
    for (let n = 0; n < 20; n++) stranger.send(ada.relayed, 'let me in');
    await until('twenty drops counted', async () => (await drops()) >= before + 20);
    assert.equal(ada.client.packets, 0);
  });

  test('gains nothing by saying that an address of this room is its own', async () => {
    const ada = await member(freshRoom(), '127.0.1.1');
    const eve = await member(freshRoom(), '127.0.6.6');
    await eve.announce({ address: '127.0.1.1', port: ada.client.local.port });
    await eve.announce(ada.relayed);
    assert.equal(await eve.client.permit({ address: '127.0.1.1', port: 9 }), 403, 'alone in a room');
    const dan = await member(eve.room, '127.0.6.7');
    await dan.announce(ada.relayed, 'relay');
    assert.equal(await eve.client.bind(0x4001, ada.relayed), 403);
    eve.client.sendOn(0x4001, 'in the wrong room');
    await sleep(200);
    assert.equal(ada.client.packets, 0);
  });
});

describe('who leaves', () => {
  const ways = {
    'takes leave': (eve) => eve.leave(),
    'closes the connection': (eve) => eve.close(),
    'is put out by the operator': (eve) => operate(`/api/rooms/${eve.room}/kick`, 'POST', { peerId: eve.id }),
    'is banned by the operator': (eve) => operate(`/api/rooms/${eve.room}/kick`, 'POST', { userId: eve.userId, ban: true }),
    'is in a room that the operator ends': (eve) => operate(`/api/rooms/${eve.room}`, 'DELETE'),
  };
  for (const [how, leave] of Object.entries(ways)) {
    for (const transport of ['udp', 'tcp', 'tls']) {
      test(`${how}: the relay is gone at once, over ${transport}, and the credential is worth nothing`, async () => {
        const ada = await member(freshRoom(), '127.0.1.1');
        const eve = await member(ada.room, '127.0.6.6', { transport });
        assert.deepEqual([await ada.client.bind(0x4000, eve.relayed), await eve.client.bind(0x4000, ada.relayed)], [0, 0]);
        eve.client.sendOn(0x4000, 'while there');
        await until('the packet', () => ada.client.packets === 1);

        const begun = Date.now();
        await leave(eve);
        // The one who stays keeps its own, if there is a room to stay in.
        const left = how.includes('ends') ? 0 : 1;
        await until('the allocation gone', async () => (await daemon.metrics()).sum('callgate_allocations') === left, { every: 10 });
        // By itself it would last for ten minutes.
        assert.ok(Date.now() - begun < 10_000, `${Date.now() - begun} ms`);

        const before = await drops();
        eve.client.sendOn(0x4000, 'after that');
        ada.client.sendOn(0x4000, 'to nobody');
        await until('a drop counted', async () => (await drops()) > before);
        await sleep(200);
        assert.deepEqual([ada.client.packets, eve.client.packets], [1, 0]);
        const again = keep(await connect(eve.credentials, '127.0.6.6', transport));
        assert.equal((await again.allocate()).code, 401);
        assert.equal((await daemon.metrics()).sum('callgate_allocations'), left);
      });
    }
  }

  test('is not reached any more by the relays of those who stay, from the next packet on', async () => {
    const ada = await member(freshRoom(), '127.0.1.1');
    const eve = await member(ada.room, '127.0.6.6');
    const home = keep(await openPeer({ address: '127.0.9.9' }));
    await eve.announce(home);
    assert.equal(await ada.client.bind(0x4000, home), 0);
    ada.client.sendOn(0x4000, 'while there');
    await until('the packet', () => home.packets === 1);
    await eve.leave();
    const before = await drops();
    ada.client.sendOn(0x4000, 'after that');
    home.send(ada.relayed, 'from outside');
    await until('two drops counted', async () => (await drops()) >= before + 2);
    assert.deepEqual([home.packets, ada.client.packets], [1, 0]);
    assert.equal(await ada.client.permit(home), 403);
  });
});
