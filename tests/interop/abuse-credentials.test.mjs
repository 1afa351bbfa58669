// Credentials and nonces that are not what they should be, and what a good one is not good for.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, afterEach, before, describe, test } from 'node:test';
import { credentials, start } from '../e2e/support/callgate.mjs';
import { attribute, encode, method, open } from './turn.mjs';

let daemon;
let clients = [];

before(async () => {
  daemon = await start({ tls: true });
});
after(async () => assert.equal(await daemon?.stop(), 0));
afterEach(() => {
  clients.forEach((client) => client.close());
  clients = [];
});

async function client(credential, { from = '127.0.0.1', transport = 'udp' } = {}) {
  const port = { udp: daemon.turnPort, tcp: daemon.turnPort, tls: daemon.tlsPort }[transport];
  const made = await open({ port, transport, from, ...credential, tls: { ca: daemon.ca, servername: 'localhost' } });
  clients.push(made);
  return made;
}

const good = (id = 'ada') => credentials(daemon.secret, { id });
const allocations = async () => (await daemon.metrics()).sum('callgate_allocations_total');

describe('no relay is to be had', () => {
  const wrong = {
    'that has expired': () => credentials(daemon.secret, { ttl: -5 }),
    'that expires this very second': () => credentials(daemon.secret, { ttl: 0 }),
    'signed with another secret': () => credentials(`${daemon.secret}x`),
    'with an empty password': () => ({ ...good(), credential: '' }),
    'with a password cut short': () => ({ ...good(), credential: good().credential.slice(0, -1) }),
    'with a password that goes on': () => ({ ...good(), credential: `${good().credential}=` }),
    'whose user name is cut short': () => ({ ...good(), username: good().username.slice(0, -1) }),
    'whose expiry was put off': () => ({ ...good(), username: good().username.replace(/^\d+/, (expiry) => `${Number(expiry) + 1}`) }),
    'whose id was changed': () => ({ ...good(), username: good().username.replace(/ada$/, 'eve') }),
    'without an expiry': () => ({ ...good(), username: ':ada' }),
    'whose expiry is no number': () => ({ ...good(), username: 'soon:ada' }),
    'whose expiry is beyond all time': () => ({ ...good(), username: `${'9'.repeat(30)}:ada` }),
    'with an empty user name': () => ({ ...good(), username: '' }),
    'with a user name of 500 bytes': () => credentials(daemon.secret, { id: 'a'.repeat(500) }),
    'with a user name that is not UTF-8': () => ({ ...good(), username: Buffer.from([0x31, 0x3a, 0xff, 0xfe]) }),
    'of a member that there is not': () => credentials(daemon.secret, { id: 'room-member/0b8f9b1e-9d1c-4b3e-8f6a-1f2e3d4c5b6a' }),
    'of a member without a name': () => credentials(daemon.secret, { id: 'room-member/' }),
  };
  for (const [what, credential] of Object.entries(wrong)) {
    test(`with a credential ${what}`, async () => {
      const before = await allocations();
      for (const transport of ['udp', 'tls']) {
        const { code } = await (await client(credential(), { transport })).allocate();
        assert.ok([400, 401].includes(code), `${transport}: answered with ${code}`);
      }
      assert.equal(await allocations(), before);
    });
  }

  test('and a good one gets it', async () => {
    for (const transport of ['udp', 'tcp', 'tls']) assert.equal((await (await client(good(), { transport })).allocate()).code, 0);
  });
});

describe('a nonce', () => {
  test('of somebody else is worth nothing, from another address or another port', async () => {
    const ada = await client(good());
    assert.equal((await ada.allocate()).code, 0);
    const before = await allocations();
    for (const from of ['127.0.0.1', '127.0.6.6']) {
      const eve = await client(good('eve'), { from });
      Object.assign(eve, { realm: ada.realm, nonce: ada.nonce });
      const answer = await eve.ask(eve.signed(method.allocate, [[attribute.transport, Buffer.from([17, 0, 0, 0])]]));
      assert.equal(answer.code, 438);
      assert.notEqual(answer.get(attribute.nonce).toString(), ada.nonce);
    }
    assert.equal(await allocations(), before);
  });

  test('that was altered, cut short or made up is stale', async () => {
    const ada = await client(good());
    await ada.challenge();
    const { nonce, realm } = ada;
    const last = nonce.at(-1) === '0' ? '1' : '0';
    for (const made of [nonce.slice(0, -1), nonce.slice(0, -1) + last, `${nonce}0`, '', randomBytes(16).toString('hex'), 'x'.repeat(700)]) {
      Object.assign(ada, { nonce: made, realm });
      const answer = await ada.ask(ada.signed(method.allocate, [[attribute.transport, Buffer.from([17, 0, 0, 0])]]));
      assert.ok([400, 401, 438].includes(answer?.code), `${made}: ${answer?.code}`);
    }
  });
});

describe('a request that was overheard', () => {
  const transport = [[attribute.transport, Buffer.from([17, 0, 0, 0])]];

  test('makes nothing when it comes from another address or another port', async () => {
    const ada = await client(good());
    await ada.challenge();
    const overheard = ada.signed(method.allocate, transport);
    for (const from of ['127.0.0.1', '127.0.6.6']) {
      const eve = await client(good(), { from });
      const before = await allocations();
      assert.equal((await eve.ask(overheard)).code, 438);
      assert.equal(await allocations(), before);
    }
    assert.equal((await ada.ask(overheard)).code, 0);
    // Sent again by who sent it, it is answered again.
    const before = await allocations();
    assert.equal((await ada.ask(overheard)).code, 0);
    assert.equal(await allocations(), before);
  });

  test('ends nothing either', async () => {
    const ada = await client(good());
    assert.equal((await ada.allocate()).code, 0);
    const goodbye = ada.signed(method.refresh, [[attribute.lifetime, Buffer.alloc(4)]]);
    const eve = await client(good(), { from: '127.0.6.6' });
    const { code } = await eve.ask(goodbye);
    assert.ok([437, 438].includes(code), `answered with ${code}`);
    assert.equal((await ada.refresh()).code, 0);
  });

  test('cannot be changed', async () => {
    // Of a user of its own: so many wrong ones are guesses, and it has to wait.
    const ada = await client(good('changed'));
    await ada.challenge();
    const request = ada.signed(method.allocate, transport);
    const before = await allocations();
    for (let at = 24; at < request.length; at += 3) {
      const changed = Buffer.from(request);
      changed[at] ^= 1;
      const answer = await ada.ask(changed, { timeout: 90 });
      assert.notEqual(answer?.code, 0, `byte ${at}`);
    }
    assert.equal(await allocations(), before);
  });
});

test('an allocation is not for others to use, who have good credentials too', async () => {
  const ada = await client(good());
  assert.equal((await ada.allocate()).code, 0);
  Object.assign(ada, good('eve'));
  assert.equal((await ada.refresh(0)).code, 441);
  assert.equal(await ada.permit({ address: '127.0.0.1', port: 9 }), 441);
  Object.assign(ada, good());
  assert.equal((await ada.refresh()).code, 0);
});

test('what is signed with a key of its own is not believed', async () => {
  const ada = await client(good('signed'));
  await ada.challenge();
  for (const key of [Buffer.alloc(0), Buffer.alloc(16), createHash('md5').update(`${ada.username}:${ada.realm}:`).digest()]) {
    const named = [[attribute.username, ada.username], [attribute.realm, ada.realm], [attribute.nonce, ada.nonce]];
    const answer = await ada.ask(encode({ method: method.allocate, attributes: named, key: key.length ? key : 'x' }));
    assert.equal(answer.code, 401);
  }
});

describe('guessing passwords', () => {
  const from = '127.0.77.7';

  /** Guesses a thousand times as fast as it can; `name(n)` is whose password. How many guesses were looked at, in how many seconds. */
  async function guess(t, name) {
    const eve = await client(good('eve'), { from });
    await eve.challenge();
    const failures = async () => (await daemon.metrics()).sum('callgate_auth_failures_total', { code: '401' });
    const [begun, before] = [Date.now(), await failures()];
    for (let n = 0; n < 1_000; n++) {
      Object.assign(eve, { username: name(n), credential: `guess ${n}` });
      eve.write(eve.signed(method.refresh, []));
    }
    const ada = await client(good(), { from });
    assert.equal((await ada.allocate()).code, 0, 'who knows a password and has the same address gets in meanwhile');
    const looked = (await failures()) - before;
    const seconds = (Date.now() - begun) / 1000;
    t.diagnostic(`${looked} of 1000 guesses looked at in ${seconds} s`);
    return { looked, seconds };
  }

  test('of one user is slowed down, and keeps nobody out', async (t) => {
    const { username } = good('eve');
    const { looked, seconds } = await guess(t, () => username);
    assert.ok(looked <= 10 + seconds, `${looked} guesses`);
  });

  test('of many users keeps nobody out either', async (t) => {
    // Each user has ten of its own; nobody else at this address is to suffer from it.
    await guess(t, (n) => good(`eve-${n}`).username);
  });
});
