// Rooms in the native dialect, and both dialects in one room.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { closeAll, connect, freshRoom, sleep, startDaemon, until } from './harness.mjs';

let daemon;
before(async () => {
  daemon = await startDaemon({ ROOMS__GRACE: '2m', ROOMS__WAITING_TIMEOUT: '2m', ROOMS__CAPACITY: 4 });
});
after(async () => {
  closeAll();
  await daemon.stop();
});

const native = () => connect(daemon.url, { auth: { dialect: 'native' } });

test('joining answers with the room, the peers, politeness and working credentials', async () => {
  const room = freshRoom();
  const [a, b] = [native(), native()];
  const first = await a.ask('room.join', { room, name: 'Ada', userId: 'ada' });
  assert.equal(first.ok, true);
  assert.deepEqual(
    { ...first.room, createdAt: 0 },
    { id: room, kind: 'room', capacity: 4, count: 1, createdAt: 0, status: 'waiting' },
  );
  assert.ok(Math.abs(first.room.createdAt - Date.now()) < 60_000);
  assert.deepEqual({ ...first.self, peerId: '' }, { peerId: '', userId: 'ada', name: 'Ada', rank: 'creator' });
  assert.deepEqual(first.peers, []);

  const second = await b.ask('room.join', { room, name: 'Bob' });
  assert.deepEqual(second.peers, [{ peerId: first.self.peerId, userId: 'ada', name: 'Ada', polite: true, rank: 'creator' }]);
  assert.equal(second.room.status, 'active');
  assert.deepEqual(await a.plain('room.peer-joined'), {
    room,
    peer: { peerId: second.self.peerId, name: 'Bob', polite: false },
  });
  assert.notEqual(second.self.peerId, b.socket.id);

  const [stun, turn] = second.iceServers;
  assert.match(stun.urls[0], /^stun:127\.0\.0\.1:\d+$/);
  assert.match(turn.urls[0], /^turn:127\.0\.0\.1:\d+\?transport=udp$/);
  const [expires] = turn.username.split(':');
  assert.ok(Math.abs(Number(expires) - Date.now() / 1000 - second.iceTtl) < 60);
  assert.equal(turn.credential, createHmac('sha1', 'north-wind').update(turn.username).digest('base64'));

  const fresh = await b.ask('ice.refresh', { room });
  assert.equal(fresh.ok, true);
  assert.equal(fresh.iceServers.length, 2);
  assert.deepEqual(await b.ask('room.leave', { room }), { ok: true });
  assert.deepEqual(await a.plain('room.peer-left'), { room, peerId: second.self.peerId, reason: 'left' });
});

test('two dialects share a room, each in its own words', async () => {
  const roomId = freshRoom();
  const [a, b] = [connect(daemon.url), native()];
  a.emit('join', { roomId });
  const joined = await a.next('joined');
  const answer = await b.ask('room.join', { room: roomId, name: 'Bob' });
  assert.equal(answer.room.kind, 'call');
  assert.deepEqual(await a.next('peer-joined'), { peerId: answer.self.peerId, roomId });
  a.emit('offer', { roomId, sdp: { type: 'offer', sdp: 'v=0' } });
  assert.deepEqual(await b.plain('signal'), {
    room: roomId, from: joined.self, kind: 'offer', data: { type: 'offer', sdp: 'v=0' },
  });
  await b.ask('signal', { room: roomId, kind: 'answer', data: { type: 'answer', sdp: 'v=1' } });
  assert.deepEqual(await a.next('answer'), {
    from: answer.self.peerId, roomId, sdp: { type: 'answer', sdp: 'v=1' },
  });
  await b.ask('signal', { room: roomId, kind: 'candidate', data: null });
  assert.deepEqual(await a.next('ice-candidate'), { from: answer.self.peerId, roomId, candidate: null });
  const said = await b.ask('chat', { room: roomId, text: 'hi "you" é', clientId: 'c1' });
  assert.equal(said.ok, true);
  assert.equal(said.clientId, 'c1');
  assert.deepEqual(await a.next('chat-message'), { from: answer.self.peerId, msg: 'hi "you" é' });
  a.emit('chat-message', { roomId, msg: 'yes' });
  const heard = await b.plain('chat');
  assert.deepEqual({ ...heard, id: '', createdAt: 0 }, {
    room: roomId, from: joined.self, text: 'yes', attachments: [], id: '', createdAt: 0,
  });
  await sleep(100);
  assert.ok(!b.names().includes('chat-message') && b.names().filter((n) => n === 'chat').length === 1);
});

test('a thousand candidates arrive in the order they were sent', async () => {
  const room = freshRoom();
  const [a, b, c] = [native(), native(), connect(daemon.url, { transports: ['polling'] })];
  await a.ask('room.join', { room });
  await b.ask('room.join', { room });
  await c.ask('room.join', { room });
  for (let n = 0; n < 995; n += 1) a.emit('signal', { room, kind: 'candidate', data: { n } });
  const done = (client) => client.heard.filter(([name]) => name === 'signal').length === 995;
  await until('all of them', () => done(b) && done(c)).catch(() => {});
  for (const client of [b, c]) {
    const order = client.heard.filter(([name]) => name === 'signal').map(([, { data }]) => data.n);
    assert.deepEqual(order, Array.from({ length: 995 }, (_, n) => n));
  }
  assert.deepEqual(a.names(), ['room.peer-joined', 'room.peer-joined']);
});

test('what is said before the connection is acknowledged is heard, in order', async () => {
  const roomId = freshRoom();
  const a = connect(daemon.url);
  a.emit('join', { roomId });
  await a.next('joined');
  const b = connect(daemon.url);
  // All of this is written before and right after the handshake's answer, without waiting for anything.
  b.socket.on('connect', () => b.emit('ice-candidate', { roomId, candidate: 3 }));
  b.emit('join', { roomId });
  b.emit('offer', { roomId, sdp: 1 });
  b.emit('ice-candidate', { roomId, candidate: 2 });
  await a.next('ice-candidate');
  await a.next('ice-candidate');
  const told = a.heard.slice(1).map(([name, { sdp, candidate }]) => [name, sdp ?? candidate]);
  assert.deepEqual(told, [
    ['peer-joined', undefined],
    ['offer', 1],
    ['ice-candidate', 2],
    ['ice-candidate', 3],
  ]);
});

test('only members are heard, and only their own room hears them', async () => {
  const [roomA, roomB] = [freshRoom(), freshRoom()];
  const [a, a2, b, outsider] = [native(), native(), native(), native()];
  await a.ask('room.join', { room: roomA });
  await a2.ask('room.join', { room: roomA });
  const inB = await b.ask('room.join', { room: roomB });
  for (const [event, body] of [
    ['signal', { room: roomA, kind: 'offer', data: {} }],
    ['offer', { roomId: roomA, sdp: {} }],
    ['chat', { room: roomA, text: 'hi' }],
    ['chat-message', { roomId: roomA, msg: 'hi' }],
    ['ice.refresh', { room: roomA }],
    ['room.leave', { room: roomA }],
  ]) {
    for (const client of [outsider, b]) {
      const answer = await client.ask(event, body);
      assert.deepEqual([answer.ok, answer.error?.code], [false, 'not-a-member'], event);
    }
  }
  // A target outside of the room is nobody.
  const answer = await a.ask('signal', { room: roomA, to: inB.self.peerId, kind: 'offer', data: {} });
  assert.equal(answer.error.code, 'no-such-peer');
  await a.ask('signal', { room: roomA, kind: 'offer', data: 1 });
  await a2.next('signal');
  assert.deepEqual([b.names(), outsider.names()], [[], []]);
});

test('a target is one peer, or every peer of a user', async () => {
  const room = freshRoom();
  const clients = [native(), native(), native(), native()];
  const joined = [];
  for (const [i, client] of clients.entries()) {
    joined.push(await client.ask('room.join', { room, userId: ['ada', 'bob', 'bob', 'cy'][i] }));
  }
  const [a, ...rest] = clients;
  const signals = () => rest.map((client) => client.heard.filter(([name]) => name === 'signal').length);
  await a.ask('signal', { room, to: joined[3].self.peerId, kind: 'offer', data: {} });
  await rest[2].next('signal');
  assert.deepEqual(signals(), [0, 0, 1]);
  await a.ask('signal', { room, to: 'bob', kind: 'offer', data: {} });
  await rest[1].next('signal');
  await rest[0].next('signal');
  assert.deepEqual(signals(), [1, 1, 1]);
});

test('a room is full at its capacity, and takes someone again when there is room', async () => {
  const room = freshRoom();
  const clients = Array.from({ length: 5 }, native);
  for (const client of clients.slice(0, 4)) assert.equal((await client.ask('room.join', { room })).ok, true);
  assert.equal((await clients[4].ask('room.join', { room })).error.code, 'room-full');
  assert.equal((await clients[0].ask('room.join', { room })).error.code, 'already-joined');
  await clients[1].ask('room.leave', { room });
  assert.equal((await clients[4].ask('room.join', { room })).ok, true);
});

test('a room can be made ahead, under an id of its own', async () => {
  const a = native();
  const made = await a.ask('room.create', { capacity: 2, name: 'Standup' });
  assert.match(made.room.id, /^[0-9a-f-]{36}$/);
  assert.deepEqual([made.room.name, made.room.capacity, made.room.kind], ['Standup', 2, 'room']);
  assert.equal((await a.ask('room.join', { room: made.room.id })).room.name, 'Standup');
  assert.equal((await a.ask('room.create', { capacity: 0 })).error.code, 'bad-request');
  assert.equal((await a.ask('room.create', { capacity: 1e9 })).room.capacity, 4, 'no more than the rules allow');
  assert.equal((await a.ask('room.create', { kind: 'call' })).room.capacity, 2);
});

test('who comes back in time has the same id and hears what was missed, in order', async () => {
  const room = freshRoom();
  const [a, b] = [native(), native()];
  const { self: { peerId: idA } } = await a.ask('room.join', { room });
  const before = await b.ask('room.join', { room, name: 'Bob' });
  b.kill();
  assert.deepEqual(await a.plain('room.peer-away'), { room, peerId: before.self.peerId });
  for (let n = 0; n < 20; n += 1) a.emit('signal', { room, kind: 'candidate', data: n });
  await a.ask('chat', { room, text: 'are you there?' });

  const again = native();
  assert.equal((await again.ask('room.join', { room, resume: 'x'.repeat(22) })).error.code, 'resume-failed');
  const back = await again.ask('room.join', { room, resume: before.resume });
  assert.equal(back.ok, true);
  assert.deepEqual([back.self.peerId, back.resumed, back.self.name], [before.self.peerId, true, 'Bob']);
  assert.deepEqual(back.peers.map((peer) => [peer.peerId, peer.polite]), [[idA, true]]);
  assert.deepEqual(await a.plain('room.peer-reconnected'), {
    room, peerId: before.self.peerId, peer: { peerId: before.self.peerId, name: 'Bob', polite: false },
  });
  await again.next('chat');
  assert.deepEqual(
    again.heard.map(([name, body]) => [name, body.data]),
    [...Array.from({ length: 20 }, (_, n) => ['signal', n]), ['chat', undefined]],
  );
  await a.ask('signal', { room, kind: 'offer', data: 'live' });
  assert.equal((await again.next('signal')).data, 'live');
});

test('a seat can be taken over while the old connection still looks alive', async () => {
  const room = freshRoom();
  const [a, b, again] = [native(), native(), native()];
  await a.ask('room.join', { room });
  const before = await b.ask('room.join', { room });
  const back = await again.ask('room.join', { room, resume: before.resume });
  assert.equal(back.self.peerId, before.self.peerId);
  assert.equal((await b.ask('chat', { room, text: 'x' })).error.code, 'not-a-member');
  b.kill();
  await sleep(300);
  await a.ask('signal', { room, kind: 'offer', data: 1 });
  assert.equal((await again.next('signal')).data, 1);
  // What was sent to the old connection last may be lost: the others are told to send it again.
  assert.deepEqual(a.names(), ['room.peer-joined', 'room.peer-reconnected']);
});

test('who stays away is gone when the grace ends', async (t) => {
  const brief = await startDaemon({ ROOMS__GRACE: '2s' });
  t.after(() => brief.stop());
  const room = freshRoom();
  const [a, b, again] = [0, 0, 0].map(() => connect(brief.url, { auth: { dialect: 'native' } }));
  await a.ask('room.join', { room });
  const { self, resume } = await b.ask('room.join', { room });
  const began = Date.now();
  b.kill();
  await a.next('room.peer-away');
  assert.deepEqual(await a.plain('room.peer-left'), { room, peerId: self.peerId, reason: 'lost' });
  const took = Date.now() - began;
  assert.ok(took > 1900 && took < 15_000, `${took} ms`);
  assert.equal((await again.ask('room.join', { room, resume })).error.code, 'resume-failed');
});

test('saying goodbye is leaving: no grace', async () => {
  const room = freshRoom();
  const [a, b] = [native(), native()];
  await a.ask('room.join', { room });
  await b.ask('room.join', { room });
  b.disconnect();
  assert.equal((await a.next('room.peer-left')).reason, 'left');
});

test('a page that is reloaded gets its seat in a full call, and the call goes on', async () => {
  const roomId = freshRoom();
  const [a, b] = [connect(daemon.url), connect(daemon.url)];
  a.emit('join', { roomId });
  await a.next('joined');
  b.emit('join', { roomId });
  const { self: oldB } = await b.next('joined');
  await a.next('peer-joined');
  b.kill();
  await daemon.seesAway(roomId);
  const reloaded = connect(daemon.url);
  reloaded.emit('join', { roomId });
  const { self: newB } = await reloaded.next('joined');
  await a.next('peer-joined');
  assert.deepEqual(a.heard.slice(2).map(([name, { peerId }]) => [name, peerId]), [
    ['peer-left', oldB],
    ['peer-joined', newB],
  ]);
  a.emit('offer', { roomId, sdp: 1 });
  await reloaded.next('offer');
});
