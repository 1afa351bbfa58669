// Who may: a token needed to come in, what it opens, its end and its renewal; with the real client.
import assert from 'node:assert/strict';
import { createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { io } from 'socket.io-client';
import { join as joinRoom } from '../../../web/sdk.js';
import { closeAll, connect, freshRoom, sleep, startDaemon, until } from './harness.mjs';

const KEY = 'a key of thirty-two characters..';
const issuers = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: generateKeyPairSync('ed25519'),
};
const folder = mkdtempSync(join(tmpdir(), 'callgate-auth-'));
let daemon;
before(async () => {
  const keys = Object.entries(issuers).map(([alg, { publicKey }]) => ({
    ...createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })).export({ format: 'jwk' }),
    kid: `of ${alg}`,
    alg,
    use: 'sig',
  }));
  writeFileSync(join(folder, 'jwks.json'), JSON.stringify({ keys }));
  daemon = await startDaemon({
    AUTH__MODE: 'jwt',
    AUTH__KEY: KEY,
    AUTH__JWKS: join(folder, 'jwks.json'),
    AUTH__LEEWAY: '0s',
    AUTH__COOKIE: 'session',
    AUTH__AUDIENCE: 'calls',
    ROOMS__WAITING_TIMEOUT: '0s',
    // They are of few users.
    LIMITS__JOINS_PER_MINUTE: 0,
  });
});
after(async () => {
  closeAll();
  await daemon.stop();
  rmSync(folder, { recursive: true, force: true });
});

const now = () => Date.now() / 1000;
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token; `claims` over `{sub: 'ada', aud: 'calls', exp: in a minute}`. */
function token(claims = {}, { alg = 'HS256', key = KEY, kid } = {}) {
  const body = { sub: 'ada', aud: 'calls', exp: Math.floor(now()) + 60, ...claims };
  const message = `${part({ alg, typ: 'JWT', kid })}.${part(body)}`;
  if (alg === 'HS256') return `${message}.${createHmac('sha256', key).update(message).digest('base64url')}`;
  const hash = alg === 'EdDSA' ? null : 'sha256';
  return `${message}.${sign(hash, Buffer.from(message), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

/** Ends within seconds, at a fraction of one: tokens of different tests end apart. */
const soon = (seconds) => Math.round((now() + seconds) * 1000) / 1000;

const withToken = (text, options = {}) => connect(daemon.url, { auth: { token: text, dialect: 'native' }, ...options });
const refused = (client, code) => assert.rejects(client.connected(), { message: code });
const disconnected = (client) =>
  new Promise((done) => (client.socket.connected ? client.socket.once('disconnect', done) : done('already')));

test('without a token, with a wrong one or an old one nobody comes in', async () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  for (const [bad, code] of [
    [undefined, 'unauthorized'],
    ['', 'unauthorized'],
    [7, 'unauthorized'],
    ['hello', 'unauthorized'],
    [token({}, { key: 'another key of 32 characters....' }), 'unauthorized'],
    [token({ aud: 'mail' }), 'unauthorized'],
    [token({ nbf: now() + 60 }), 'unauthorized'],
    [token({ sub: undefined }), 'unauthorized'],
    [`${part({ alg: 'none' })}.${part({ sub: 'ada', aud: 'calls', exp: now() + 60 })}.`, 'unauthorized'],
    [token({}, { alg: 'ES256', key: privateKey }), 'unauthorized'],
    [token({}, { alg: 'ES256', key: privateKey, kid: '../../../../dev/null' }), 'unauthorized'],
    [token({ exp: now() - 1 }), 'token-expired'],
    [token({ exp: now() - 1, aud: 'mail' }), 'unauthorized'],
  ]) {
    for (const transports of [['websocket'], ['polling']]) {
      const stranger = withToken(bad, { transports });
      await refused(stranger, code);
      stranger.emit('room.join', { room: freshRoom() });
      assert.deepEqual(stranger.heard, []);
      stranger.disconnect();
    }
  }
  assert.equal(await daemon.metric('callgate_rooms'), 0);
});

test('who shows one is who it says, whatever else is claimed', async () => {
  const room = freshRoom();
  const a = withToken(token({ name: 'Ada L.' }), { auth: undefined, extraHeaders: { authorization: `Bearer ${token({ name: 'Ada L.' })}` } });
  const b = connect(daemon.url, { auth: { token: token({ sub: 'bob' }), userId: 'ada', username: 'Bob', dialect: 'native' } });
  const joined = await a.ask('room.join', { room, userId: 'mallory', name: 'Mallory' });
  assert.deepEqual([joined.self.userId, joined.self.name], ['ada', 'Ada L.']);
  const { self } = await b.ask('room.join', { room, userId: 'mallory' });
  assert.deepEqual([self.userId, self.name], ['bob', 'Bob']);
  assert.equal((await a.next('room.peer-joined')).peer.userId, 'bob');
});

test('tokens of every key of the set open', async () => {
  for (const [alg, { privateKey: key }] of Object.entries(issuers)) {
    for (const kid of [`of ${alg}`, undefined]) {
      const it = withToken(token({ sub: alg }, { alg, key, kid }));
      const { self } = await it.ask('room.join', { room: freshRoom() });
      assert.equal(self.userId, alg);
      it.disconnect();
    }
  }
});

test('the other dialects need one as well', async () => {
  const room = freshRoom();
  const [a, b] = [connect(daemon.url, { auth: { token: token() } }), connect(daemon.url, { auth: { token: token({ sub: 'bob' }) } })];
  a.emit('join', { roomId: room });
  await a.next('joined');
  b.emit('join', { roomId: room });
  await b.next('joined');
  await a.next('peer-joined');
  a.emit('auth.refresh', { token: 'garbage' });
  assert.equal((await a.next('error')).code, 'unauthorized');
});

test('a token for certain rooms opens those and no other', async () => {
  const [room, other] = [freshRoom(), freshRoom()];
  const free = withToken(token({ sub: 'bob' }));
  await free.ask('room.join', { room: other });
  const a = withToken(token({ rooms: [room] }));
  assert.equal((await a.ask('room.join', { room: other })).error.code, 'forbidden');
  assert.equal((await a.ask('room.history', { room: other })).error.code, 'forbidden');
  assert.equal((await a.ask('room.kick', { room: other, userId: 'bob' })).error.code, 'forbidden');
  assert.equal((await a.ask('room.create', { name: 'mine' })).error.code, 'forbidden');
  assert.equal((await a.ask('room.join', { room })).ok, true);
  const nowhere = withToken(token({ rooms: [] }));
  assert.equal((await nowhere.ask('room.join', { room })).error.code, 'forbidden');
  assert.ok(!free.names().includes('room.peer-joined'));
});

test('moderators and admins are so in every room, and only by their token', async () => {
  const room = freshRoom();
  const [creator, member, moderator, admin] = [
    withToken(token({ sub: 'creator' })),
    withToken(token({ sub: 'member' })),
    withToken(token({ sub: 'moderator', role: 'moderator' })),
    withToken(token({ sub: 'admin', roles: ['x', 'admin'] })),
  ];
  await creator.ask('room.join', { room });
  await member.ask('room.join', { room, role: 'admin', rank: 'creator' });
  assert.equal((await member.ask('room.kick', { room, userId: 'creator' })).error.code, 'forbidden');
  assert.equal((await moderator.ask('room.lock', { room })).error.code, 'not-a-member');
  const { self } = await moderator.ask('room.join', { room });
  assert.equal(self.rank, 'moderator');
  assert.equal((await moderator.ask('room.kick', { room, userId: 'creator' })).error.code, 'forbidden');
  assert.equal((await moderator.ask('room.kick', { room, userId: 'member' })).ok, true);
  assert.equal((await member.next('room.closed')).reason, 'kicked');
  // An admin need not be there.
  assert.equal((await admin.ask('room.kick', { room, userId: 'creator' })).ok, true);
  assert.equal((await creator.next('room.closed')).reason, 'kicked');
  assert.equal((await admin.ask('room.delete', { room })).ok, true);
  assert.equal((await moderator.next('room.closed')).reason, 'deleted');
});

test('its end ends the session: the client is told, its seat is given up at once', async () => {
  const room = freshRoom();
  const stays = withToken(token({ sub: 'bob' }));
  await stays.ask('room.join', { room });
  const exp = soon(4);
  const goes = withToken(token({ exp }));
  await goes.ask('room.join', { room });
  const end = disconnected(goes);
  assert.equal((await goes.next('error')).code, 'token-expired');
  assert.equal(await end, 'io server disconnect');
  // (On time, give or take what a busy machine needs. To the second: unit tests, with a clock that is turned.)
  assert.ok(now() > exp - 1.1 && now() < exp + 15, `${now() - exp} s late`);
  await stays.next('room.peer-left');
  assert.ok(!stays.names().includes('room.peer-away'), 'no grace');
  // The same transport, should it still be there, is no way in.
  goes.socket.connect();
  await assert.rejects(goes.connected(), { message: 'token-expired' });
});

test('a fresh token extends it, under a call that goes on', async () => {
  const room = freshRoom();
  const stays = withToken(token({ sub: 'bob' }));
  await stays.ask('room.join', { room });
  const [first, second] = [soon(4), soon(8)];
  const it = withToken(token({ exp: first }));
  const { self } = await it.ask('room.join', { room });
  const end = disconnected(it);
  for (const [bad, code] of [
    [undefined, 'bad-request'],
    ['garbage', 'unauthorized'],
    [token({ sub: 'eve' }), 'forbidden'],
    [token({ rooms: ['elsewhere'] }), 'forbidden'],
    [token({ exp: now() - 1 }), 'token-expired'],
    [token({}, { key: 'another key of 32 characters....' }), 'unauthorized'],
  ]) {
    assert.equal((await it.ask('auth.refresh', { token: bad })).error?.code, code, code);
  }
  assert.deepEqual(await it.ask('auth.refresh', { token: token({ exp: second, rooms: [room] }) }), { ok: true });
  await sleep((first + 1 - now()) * 1000);
  assert.ok(it.socket.connected, 'the first token has ended, and nothing with it');
  await it.ask('chat', { room, text: 'still here' });
  assert.equal((await stays.next('chat')).from, self.peerId);
  assert.equal(await end, 'io server disconnect');
  assert.equal(it.heard.at(-1)[1].code, 'token-expired');
});

test('a place is taken again by its own user, and by nobody else', async () => {
  const room = freshRoom();
  const stays = withToken(token({ sub: 'bob' }));
  await stays.ask('room.join', { room });
  const a = withToken(token({ role: 'moderator' }));
  const { resume, self } = await a.ask('room.join', { room });
  a.kill();
  await stays.next('room.peer-away');
  const eve = withToken(token({ sub: 'eve', role: 'admin' }));
  assert.equal((await eve.ask('room.join', { room, resume })).error.code, 'resume-failed');
  const demoted = withToken(token());
  assert.equal((await demoted.ask('room.join', { room, resume })).error.code, 'resume-failed');
  const back = withToken(token({ role: 'moderator' }));
  const again = await back.ask('room.join', { room, resume });
  assert.deepEqual([again.resumed, again.self.peerId], [true, self.peerId]);
});

test('nor by naming the connection that had it', async () => {
  const room = freshRoom();
  const stays = withToken(token({ sub: 'bob' }));
  await stays.ask('room.join', { room });
  const a = withToken(token({ role: 'moderator' }));
  await a.ask('room.join', { room });
  const before = a.socket.id;
  a.kill();
  await stays.next('room.peer-away');
  const coming = (claims) => withToken(token(claims), { query: { userId: 'ada', reconnecting: before } });
  for (const claims of [{ sub: 'eve' }, { sub: 'eve', role: 'admin' }]) {
    const eve = coming(claims);
    assert.equal((await eve.ask('chat', { room, text: 'hello' })).error.code, 'not-a-member');
  }
  const back = coming({ role: 'moderator' });
  assert.equal((await back.ask('chat', { room, text: 'back' })).ok, true);
  assert.equal((await stays.next('chat')).text, 'back');
});

test('the cookie holds a token as well, but not for pages of elsewhere', async () => {
  const room = freshRoom();
  const cookie = `theme=dark; session=${token({ sub: 'carol' })}`;
  for (const transports of [['websocket'], ['polling']]) {
    const it = connect(daemon.url, { transports, extraHeaders: { cookie, origin: daemon.url } });
    const { self } = await it.ask('room.join', { room });
    assert.equal(self.userId, 'carol');
    it.disconnect();
    const foreign = connect(daemon.url, { transports, extraHeaders: { cookie, origin: 'https://evil.example' } });
    await assert.rejects(foreign.connected());
    foreign.disconnect();
  }
  const old = connect(daemon.url, { extraHeaders: { cookie: `session=${token({ exp: 1 })}` } });
  await refused(old, 'token-expired');
  // What is shown on purpose counts.
  const both = withToken(token(), { extraHeaders: { cookie } });
  assert.equal((await both.ask('room.join', { room: freshRoom() })).self.userId, 'ada');
  await refused(withToken('wrong', { extraHeaders: { cookie } }), 'unauthorized');
});

test('the SDK renews its token by itself, and says so when there is none to be had', async (t) => {
  const rooms = [];
  t.after(() => Promise.all(rooms.map((room) => room.leave())));
  // Alone in each room: there is no WebRTC here.
  const enter = async (source) => {
    const room = await joinRoom({ url: daemon.url, io, room: freshRoom(), token: source });
    rooms.push(room);
    return room;
  };
  let asked = 0;
  const states = [];
  const inside = await enter(async () => token({ exp: Math.ceil(now()) + ((asked += 1), 8) }));
  inside.on('state', ({ state }) => states.push(state));
  assert.equal(inside.self.userId, 'ada');
  await until('a renewal', () => asked >= 2);
  await sleep(2500);
  assert.deepEqual([inside.state, states], ['joined', []]);
  assert.ok(asked >= 2 && asked < 8, `asked ${asked} times`);
  await inside.leave();
  const before = asked;
  await sleep(5000);
  assert.equal(asked, before, 'nobody asks for a room that was left');
  const code = async (source) => (await enter(source).catch((error) => error)).code;
  assert.equal(await code('garbage'), 'unauthorized');
  assert.equal(await code(undefined), 'unauthorized');
  assert.equal(await code(token({ exp: 1 })), 'token-expired');
  assert.equal(await code(() => Promise.reject(new Error('the back end is down'))), 'unauthorized');
  // One that was at hand has ended meanwhile: the next one is asked for.
  const old = [token({ exp: 1 })];
  await enter(() => old.pop() ?? token());
  // A fixed one ends, and the room with it.
  const fixed = await enter(token({ exp: Math.ceil(now()) + 4 }));
  assert.equal(fixed.state, 'joined');
  const end = await new Promise((done) => fixed.on('closed', done));
  assert.equal(end.reason, 'token-expired');
});

test('where nobody needs a token, one that is shown is still looked at', async () => {
  const open = await startDaemon({ AUTH__KEY: KEY, AUTH__LEEWAY: '0s' });
  try {
    const at = (auth) => connect(open.url, { auth: { dialect: 'native', ...auth } });
    const guest = at({ userId: 'guest' });
    assert.equal((await guest.ask('room.join', { room: 'tea' })).self.userId, 'guest');
    const proven = at({ token: token({ role: 'moderator' }), userId: 'guest' });
    const { self } = await proven.ask('room.join', { room: 'tea' });
    assert.deepEqual([self.userId, self.rank], ['ada', 'moderator']);
    await refused(at({ token: token({ exp: 1 }) }), 'token-expired');
    // Another application's, which is none of ours.
    assert.equal((await at({ token: 'opaque' }).ask('room.join', { room: 'tea' })).ok, true);
    assert.equal((await guest.ask('auth.refresh', { token: token() })).error.code, 'unauthorized');
  } finally {
    await open.stop();
  }
});
