// The operator: /admin with the real client, rooms over HTTP, members put out, credentials for who is in no room.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { closeAll, connect, freshRoom, sleep, startDaemon } from './harness.mjs';

const TOKEN = 'a-token-of-the-operator';
const KEY = 'a key of thirty-two characters..';
let daemon;
before(async () => {
  daemon = await startDaemon({
    ADMIN__TOKEN: TOKEN,
    AUTH__API_KEYS: '["a-key-of-a-back-end"]',
    AUTH__KEY: KEY,
    ROOMS__WAITING_TIMEOUT: '0s',
  });
});
after(async () => {
  closeAll();
  await daemon.stop();
});

const native = () => connect(daemon.url, { auth: { dialect: 'native' } });
const admin = (token = TOKEN) => connect(`${daemon.url}/admin`, { auth: { token } });
const api = (path, { token = TOKEN, ...options } = {}) =>
  fetch(daemon.url + path, {
    ...options,
    headers: { ...(token && { authorization: `Bearer ${token}` }), ...(options.body && { 'content-type': 'application/json' }) },
  });

test('without the token there is a connect_error and nothing else', async () => {
  for (const token of ['wrong', '', undefined, 7, { a: 1 }, [TOKEN], `${TOKEN} `]) {
    const stranger = connect(`${daemon.url}/admin`, { auth: { token } });
    await assert.rejects(stranger.connected(), /unauthorized/);
    stranger.emit('drain');
    assert.deepEqual(stranger.heard, []);
    stranger.disconnect();
  }
  const nothing = connect(`${daemon.url}/admin`);
  await assert.rejects(nothing.connected(), /unauthorized/);
  assert.equal((await fetch(`${daemon.url}/ready`)).status, 200);
});

test('the figures come at once and then every ten seconds, the same for every operator', async () => {
  const room = freshRoom();
  const [a, b] = [native(), native()];
  await a.ask('room.join', { room, name: 'Ada' });
  await b.ask('room.join', { room });
  const [one, other] = [admin(), admin()];
  const first = await one.next('roomStats');
  assert.ok(first.totalRooms >= 1 && first.totalUsersInRooms >= 2, JSON.stringify(first));
  const row = first.roomsBreakdown.find(({ id }) => id === room);
  assert.deepEqual([row.userCount, row.type, row.status], [2, 'room', 'active']);
  const none = { packets: 0, bytes: 0 };
  assert.deepEqual(row.relay, { toPeer: none, toClient: none });
  assert.equal(typeof first.relay.allocations, 'number');
  await other.next('roomStats');
  await a.ask('room.leave', { room });
  // Whatever the tenth second fell on: both had figures with two in the room, and are to have the first ones with one.
  const changed = async (operator) => {
    for (;;) {
      const figures = await operator.next('roomStats');
      if (figures.roomsBreakdown.find(({ id }) => id === room).userCount === 1) return figures;
    }
  };
  const [again, theirs] = await Promise.all([changed(one), changed(other)]);
  assert.deepEqual(again, theirs);
});

test('a member that is put out hears of it, the others too, and a ban holds', async () => {
  const room = freshRoom();
  const [a, b, c, operator] = [native(), native(), connect(daemon.url), admin()];
  await a.ask('room.join', { room, userId: 'mallory' });
  const { self } = await b.ask('room.join', { room, userId: 'bob' });
  c.emit('join', { roomId: room });
  await c.next('joined');
  assert.deepEqual(await operator.ask('kick', { roomId: room, userId: 'mallory', ban: true }), { ok: true, kicked: 1 });
  assert.deepEqual(await a.plain('room.closed'), { room, reason: 'kicked' });
  assert.equal((await b.next('room.peer-left')).reason, 'kicked');
  assert.equal((await c.next('peer-left')).reason, 'kicked');
  const again = await native().ask('room.join', { room, userId: 'mallory' });
  assert.equal(again.error.code, 'banned');
  assert.equal((await operator.ask('kick', { roomId: room, peerId: self.peerId })).kicked, 1);
  assert.equal((await b.next('room.closed')).reason, 'kicked');
  assert.equal((await operator.ask('kick', { roomId: room, peerId: self.peerId })).error.code, 'no-such-peer');
  operator.emit('deleteRoom', room);
  assert.deepEqual(await c.next('room-closed'), { roomId: room, reason: 'deleted' });
  operator.emit('deleteRoom', room);
  assert.equal((await operator.next('error')).code, 'no-such-room');
});

test('in a call, putting one out ends it for the other', async () => {
  const room = freshRoom();
  const [a, b] = [connect(daemon.url), connect(daemon.url)];
  a.emit('join', { roomId: room });
  const { self } = await a.next('joined');
  b.emit('join', { roomId: room });
  await b.next('joined');
  const kick = { method: 'POST', body: JSON.stringify({ peerId: self }) };
  assert.deepEqual(await (await api(`/api/rooms/${room}/kick`, kick)).json(), { kicked: 1 });
  assert.equal((await a.next('room-closed')).reason, 'kicked');
  assert.equal((await b.next('peer-left')).reason, 'kicked');
  assert.equal((await b.next('room-closed')).reason, 'peer-kicked');
  assert.equal((await api(`/api/rooms/${room}`)).status, 404);
});

test('a room shows its members to the operator and its outline to everybody', async () => {
  const room = freshRoom();
  const [a, b] = [native(), native()];
  const { self } = await a.ask('room.join', { room, userId: 'ada', name: 'Ada' });
  await b.ask('room.join', { room });
  b.kill();
  for (let tries = 0; ; tries += 1) {
    const { members } = await (await api(`/api/rooms/${room}`)).json();
    if (members[1].away) break;
    assert.ok(tries < 1000, JSON.stringify(members));
    await sleep(50);
  }
  const whole = await (await api(`/api/rooms/${room}`)).json();
  assert.deepEqual([whole.id, whole.kind, whole.status, whole.memberCount], [room, 'room', 'active', 2]);
  const [first, second] = whole.members;
  assert.deepEqual([first.peerId, first.userId, first.name, first.away, first.joinedOrder], [self.peerId, 'ada', 'Ada', false, 0]);
  assert.deepEqual([second.userId, second.away, second.joinedOrder], [undefined, true, 1]);
  assert.ok(Math.abs(Date.parse(whole.createdAt) - Date.now()) < 60_000);
  const outline = await (await api(`/api/rooms/${room}`, { token: null })).json();
  const { createdAt, participants, ...facts } = outline;
  const flags = { hasPassword: false, private: false, locked: false, lobby: false, persistent: false };
  assert.deepEqual(facts, { id: room, kind: 'room', status: 'active', memberCount: 2, capacity: 16, ...flags });
  assert.deepEqual([createdAt, participants.length, participants[0]], [whole.createdAt, 2, self.peerId]);
  assert.equal((await api(`/api/rooms/${room}`, { method: 'DELETE', token: 'nobodys-key' })).status, 401);
  assert.equal((await api(`/api/rooms/${room}`, { method: 'DELETE' })).status, 204);
  assert.equal((await a.next('room.closed')).reason, 'deleted');
});

test('a back end and a user get credentials signed by the secret of the relay', async () => {
  const valid = ({ username, credential }) =>
    assert.equal(credential, createHmac('sha1', 'north-wind').update(username).digest('base64'));
  const { iceServers, ttl } = await (await api('/api/ice?user=ada', { token: 'a-key-of-a-back-end' })).json();
  valid(iceServers[1]);
  assert.equal(iceServers[1].username.split(':')[1], 'ada');
  assert.equal(ttl, 3600);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const message = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: 'grace', exp: Math.floor(Date.now() / 1000) + 60 })}`;
  const token = `${message}.${createHmac('sha256', KEY).update(message).digest('base64url')}`;
  const hers = await (await api('/api/ice', { token })).json();
  valid(hers.iceServers[1]);
  assert.equal(hers.iceServers[1].username.split(':')[1], 'grace');
  const rest = await (await fetch(`${daemon.url}/turn?service=turn&username=ada&key=a-key-of-a-back-end`)).json();
  valid({ username: rest.username, credential: rest.password });
  // A user comes by the way that its calls will take; a back end's way says nothing of its users.
  assert.ok(hers.iceServers[1].urls[0].startsWith('turn:127.0.0.1:'), hers.iceServers[1].urls[0]);
  assert.match(rest.uris[0], /^turn:.+:\d+\?transport=udp$/);
  assert.deepEqual(rest.uris, iceServers[1].urls);
});

// The last one: the daemon ends.
test('the operator drains the daemon', async () => {
  const [a, operator] = [native(), admin()];
  await a.ask('room.join', { room: freshRoom() });
  assert.deepEqual(await operator.ask('drain'), { ok: true });
  await a.next('server.draining');
  if (daemon.child.exitCode === null) await once(daemon.child, 'exit');
  assert.equal(daemon.child.exitCode, 0);
});
