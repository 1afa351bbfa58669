// Clients of every dialect with clients of every other, and the requirement documents' own clients, as people have them.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { ask, freePort, start, until } from '../support/callgate.mjs';
import { dialects, speak } from '../support/dialects.mjs';
import { closeAll, connect, freshRoom, sleep } from './harness.mjs';

const operator = 'the operator of these tests';
let daemon;
const clients = [];
before(async () => {
  daemon = await start({ config: { rooms: { grace: '2m' }, limits: { joins_per_minute: 0 }, admin: { token: operator } } });
});
after(async () => {
  closeAll();
  clients.forEach((client) => client.close());
  await daemon.stop();
});

const client = async (...args) => {
  const made = await speak(...args);
  clients.push(made);
  return made;
};

/** Waits until the daemon takes somebody in the room for away: what is said before that may be lost with the connection. */
const seesAway = (room) =>
  until(`somebody away in ${room}`, async () => {
    const { status, text } = await ask(`${daemon.url}/api/rooms/${room}`, { authorization: `Bearer ${operator}` });
    return status === 200 && JSON.parse(text).members.some(({ away }) => away);
  });

const description = (type) => ({ type, sdp: `v=0\r\na=${type}\r\n` });
const candidate = (n) => ({ candidate: `candidate:${n} 1 udp 1 192.0.2.1 ${n} typ host`, sdpMid: '0', sdpMLineIndex: 0 });

/** A call of two, as far as signaling goes: to the end, with one of them lost and found on the way. */
async function callGoesThrough(first, second, transports) {
  const [a, early] = [await client(first, daemon.url, { user: 'ada', transports }), await client(second, daemon.url, { user: 'ben', transports })];
  let b = early;
  const room = await a.enter();
  await b.enter(room);
  await a.comings.next();
  assert.ok(a.iceServers.length && b.iceServers.length, 'credentials for the relay');

  b.signal('offer', description('offer'));
  assert.deepEqual((({ kind, data }) => ({ kind, data }))(await a.signals.next()), { kind: 'offer', data: description('offer') });
  a.signal('answer', description('answer'));
  const answered = await b.signals.next();
  assert.deepEqual([answered.kind, answered.data], ['answer', description('answer')]);
  for (let n = 1; n <= 20; n += 1) {
    a.signal('candidate', candidate(n));
    b.signal('candidate', candidate(100 + n));
  }
  for (let n = 1; n <= 20; n += 1) {
    assert.deepEqual([(await b.signals.next()).data, (await a.signals.next()).data], [candidate(n), candidate(100 + n)]);
  }
  a.chat('hello');
  b.chat('hi');
  assert.deepEqual([await b.chats.next(), await a.chats.next()], ['hello', 'hi']);

  // The second one's connection dies. What is said meanwhile waits for it.
  b.kill();
  await seesAway(room);
  for (let n = 21; n <= 25; n += 1) a.signal('candidate', candidate(n));
  a.chat('still there?');
  const before = b.self;
  b = await client(second, daemon.url, { user: 'ben', transports, query: { reconnecting: b.sid } });
  const told = await b.resumed.next();
  assert.deepEqual([b.self, b.room, told.resumed], [before, room, true], 'the same seat');
  for (let n = 21; n <= 25; n += 1) assert.deepEqual((await b.signals.next()).data, candidate(n));
  assert.equal(await b.chats.next(), 'still there?');
  await a.returns.next();
  b.signal('offer', description('offer'));
  assert.equal((await a.signals.next()).kind, 'offer');

  b.leave();
  await a.goings.next();
  assert.deepEqual([...a.errors.items, ...b.errors.items], []);
  assert.equal(a.chats.items.length + b.chats.items.length + early.chats.items.length, 3, 'each message once');
  [a, b].forEach((each) => each.close());
}

for (const transports of [['websocket'], ['polling']]) {
  describe(`over ${transports}`, () => {
    for (const first of dialects) {
      for (const second of dialects) {
        test(`${first} is called by ${second}`, () => callGoesThrough(first, second, transports));
      }
    }
  });
}

describe('a data channel opens through the relay', () => {
  for (const [n, first] of dialects.entries()) {
    for (const second of dialects.slice(n)) {
      test(`between ${first} and ${second}`, async (t) => {
        const script = join(import.meta.dirname, '../support/dialect_pair.mjs');
        const settings = JSON.stringify({ url: daemon.url, first, second });
        const { stdout } = await promisify(execFile)(process.execPath, [script, settings], { timeout: 150_000 });
        const made = JSON.parse(stdout.trim().split('\n').at(-1));
        t.diagnostic(JSON.stringify(made));
        assert.deepEqual(made, { connected: true, echoes: [20, 20], ways: [['relay', 'relay'], ['relay', 'relay']] });
      });
    }
  }
});

test('who names its connection of before a restart has its seat again, in every dialect', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'callgate-dialects-'));
  const config = { http: { port: await freePort('tcp') }, turn: { port: await freePort('both') }, rooms: { grace: '2m' }, limits: { joins_per_minute: 0 } };
  const options = { config, env: { STATE_DIRECTORY: folder } };
  let own = await start(options);
  try {
    const first = [];
    for (const dialect of dialects) {
      const [a, b] = [await client(dialect, own.url, { user: 'ada' }), await client('native', own.url, { user: 'ben' })];
      const room = await a.enter();
      await b.enter(room);
      first.push(a, b);
    }
    assert.equal(await own.stop(), 0);
    own = await start(options);
    for (const before of first) {
      const query = { reconnecting: before.sid };
      if (before.dialect === 'community') {
        const eve = await client('community', own.url, { user: 'eve', query });
        await sleep(100);
        assert.deepEqual([eve.resumed.items, eve.errors.items], [[], []], 'somebody else’s');
        eve.close();
      }
      const after = await client(before.dialect, own.url, { user: before.dialect === 'native' ? 'ben' : 'ada', query });
      const told = await after.resumed.next().catch((error) => assert.fail(`${before.dialect}: ${error.message}; ${JSON.stringify(after.errors.items)}`));
      assert.deepEqual([after.room, after.self, told.restored], [before.room, before.self, true], before.dialect);
    }
    // What was left is used up.
    const again = await client(first[0].dialect, own.url, { query: { reconnecting: first[0].sid } });
    await sleep(100);
    assert.equal(again.resumed.items.length, 0);
  } finally {
    await own.stop();
    await rm(folder, { recursive: true, force: true });
  }
});

test('all four are in one room and hear each other', async () => {
  const a = await client('community', daemon.url, { user: 'ada' });
  const room = await a.enter();
  const others = [];
  for (const dialect of ['call', 'mesh', 'native']) {
    const one = await client(dialect, daemon.url, { user: `user-${dialect}` });
    await one.enter(room);
    others.push(one);
  }
  const all = [a, ...others];
  for (const [n, one] of all.entries()) {
    one.chat(`from ${n}`);
    for (const other of all.filter((each) => each !== one)) assert.equal(await other.chats.next(), `from ${n}`);
  }
  others[1].leave();
  for (const other of [a, others[0], others[2]]) await other.goings.next();
  all.forEach((each) => each.close());
});

test('a second tab that names the connection of the first leaves it alone, until it is closed', async () => {
  const friend = await client('native', daemon.url, { user: 'ada' });
  const first = await client('community', daemon.url, { user: 'ben' });
  const room = await first.enter();
  await friend.enter(room);
  const second = await client('community', daemon.url, { user: 'ben', query: { reconnecting: first.sid } });
  const third = await client('community', daemon.url, { user: 'ben', query: { reconnecting: second.sid } });
  await sleep(200);
  assert.deepEqual([second.resumed.items, third.resumed.items, friend.returns.items], [[], [], []]);
  first.signal('offer', description('offer'));
  assert.equal((await friend.signals.next()).kind, 'offer');
  // The first one has said something since: it is closed, and its seat is kept for who comes then.
  const begun = Date.now();
  first.kill();
  const again = await client('community', daemon.url, { user: 'ben', query: { reconnecting: first.sid } });
  assert.equal((await again.resumed.next()).resumed, true);
  assert.equal(again.self, first.self);
  // Nothing was said on this one: whoever named it has its seat as soon as it is gone.
  const page = await client('community', daemon.url, { user: 'ben', query: { reconnecting: again.sid } });
  again.kill();
  assert.equal((await page.resumed.next()).resumed, true);
  // Long before a heartbeat could tell.
  assert.ok(Date.now() - begun < 10_000);
  [friend, second, third, page].forEach((each) => each.close());
});

describe('the clients of the requirement documents', () => {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    test(`a community's reconnection, over ${transports.join(', then ')}`, async () => {
      const storage = new Map();
      const localStorage = { getItem: (key) => storage.get(key) ?? null, setItem: (key, value) => storage.set(key, value) };
      let made;
      const io = (options) => {
        made = connect(daemon.url, { transports, ...options });
        return made.socket;
      };
      // As it stands there.
      const page = () => {
        const socket = io({
          query: {
            userId: 'user-123',
            reconnecting: localStorage.getItem('socketId') || ''
          }
        });

        // Store socket ID for reconnection
        socket.on('connect', () => {
          localStorage.setItem('socketId', socket.id);
        });
      };
      const friend = connect(daemon.url, { query: { userId: 'user-456' } });
      await friend.connected();
      friend.emit('createRoom', { name: 'Tea', persistent: true });
      const { roomId } = await friend.next('roomCreated');

      page();
      const first = made;
      await first.connected();
      first.emit('joinRoom', roomId);
      const { self } = await first.next('joinedRoom');
      await friend.next('userJoined');
      first.kill();
      await seesAway(roomId);
      friend.emit('chatMessage', { roomId, message: 'are you there?' });
      await friend.next('newMessage');

      page();
      const back = await made.next('joinedRoom');
      assert.deepEqual([back.roomId, back.self, back.resumed], [roomId, self, true]);
      assert.equal((await made.next('newMessage')).text, 'are you there?');
      const rejoined = await friend.next('userReconnected');
      assert.deepEqual([rejoined.userId, rejoined.roomId], ['user-123', roomId]);
      assert.ok(!friend.names().includes('userLeft'));

      // Whose old id is not known, or is somebody else's, is a newcomer like any other.
      storage.set('socketId', 'AAAAAAAAAAAAAAAA');
      page();
      await made.next('roomsList');
      storage.set('socketId', friend.socket.id);
      page();
      await made.next('roomsList');
      await sleep(200);
      assert.ok(!made.names().includes('joinedRoom'), 'another user’s connection');
      assert.ok(!friend.names().includes('error'));
    });

    test(`a community's chat with callbacks, over ${transports.join(', then ')}`, async () => {
      const [ada, ben] = ['ada', 'ben'].map((userId) => connect(daemon.url, { transports, query: { userId, username: userId.toUpperCase() } }));
      await Promise.all([ada.connected(), ben.connected()]);
      assert.ok(Array.isArray(await ada.next('roomsList')));
      const made = await ada.ask('createRoom', { name: 'Plans', isPublic: false, description: '' });
      assert.equal(made.success, true);
      const { roomId } = made;
      // The page of the room joins it, though who made it is in it already.
      const entered = await ada.ask('joinRoom', roomId);
      assert.deepEqual([entered.success, entered.messages], [true, []]);
      assert.deepEqual((({ success, error }) => ({ success, error }))(await ben.ask('joinRoom', roomId)), { success: false, error: 'this room is private' });
      assert.deepEqual(await ada.ask('inviteToRoom', { roomId, userId: 'ben' }), { success: true });
      assert.deepEqual(await ben.next('roomInvitation'), { roomId, roomName: 'Plans', invitedBy: { id: 'ada', username: 'ADA' } });
      const said = await ada.ask('sendMessage', { roomId, text: 'Ben?', attachments: [{ url: 'https://example.org/a.png' }] });
      assert.ok(said.success && said.messageId);
      const joined = await ben.ask('joinRoom', roomId);
      assert.equal(joined.success, true);
      const [message] = joined.messages;
      assert.deepEqual(
        [message.text, message.sender.username, message.roomId, message.attachments, Number.isNaN(Date.parse(message.createdAt))],
        ['Ben?', 'ADA', roomId, [{ url: 'https://example.org/a.png' }], false],
      );
      const { user } = await ada.next('userJoined');
      assert.deepEqual([user.id, user.username], ['ben', 'BEN']);
      await ben.ask('sendMessage', { roomId, text: 'Here' });
      assert.equal((await ben.next('newMessage')).text, 'Here', 'its own message too');
      assert.deepEqual(await ben.ask('leaveRoom', roomId), { success: true });
      assert.equal((await ada.next('userLeft')).username, 'BEN');
      const wrong = await ben.ask('sendMessage', { roomId, text: 'Still here?' });
      assert.deepEqual([wrong.success, wrong.error], [false, 'you are not in this room']);
      ada.emit('deleteRoom', roomId);
      assert.equal((await ada.next('roomDeleted')).roomId, roomId);
    });

    test(`a mesh of three, over ${transports.join(', then ')}`, async () => {
      const roomId = freshRoom();
      const logs = {};
      const mesh = async (userId) => {
        const one = connect(daemon.url, { transports });
        const log = (logs[userId] = []);
        const { socket } = one;
        socket.on('room-users', ({ users }) => {
          log.push(['room-users', ...users]);
          for (const targetId of users) socket.emit('offer', { roomId, targetId, offer: { type: 'offer', sdp: `v=0 ${userId}` } });
        });
        socket.on('offer', ({ from, offer }) => {
          log.push(['offer', from, offer.sdp]);
          socket.emit('answer', { roomId, targetId: from, answer: { type: 'answer', sdp: `v=0 ${userId}` } });
        });
        socket.on('answer', ({ from, answer }) => {
          log.push(['answer', from, answer.sdp]);
          socket.emit('ice-candidate', { roomId, targetId: from, candidate: { candidate: userId } });
        });
        socket.on('ice-candidate', ({ from, candidate: { candidate: of } }) => log.push(['ice-candidate', from, of]));
        socket.on('user-joined', (event) => log.push(['user-joined', event.userId]));
        socket.on('user-left', (event) => log.push(['user-left', event.userId]));
        await one.connected();
        socket.emit('join-room', { roomId, userId });
        await one.next('room-users');
        return one;
      };
      const [ada, ben] = [await mesh('ada'), await mesh('ben')];
      await ada.next('ice-candidate');
      const cleo = await mesh('cleo');
      await ada.next('ice-candidate');
      await ben.next('ice-candidate');
      cleo.emit('leave-room', { roomId });
      await ada.next('user-left');
      await ben.next('user-left');
      const of = (who, other) => [['user-joined', other], ['offer', other, `v=0 ${other}`], ['ice-candidate', other, other]];
      assert.deepEqual(logs.ada, [['room-users'], ...of('ada', 'ben'), ...of('ada', 'cleo'), ['user-left', 'cleo']]);
      assert.deepEqual(logs.ben, [['room-users', 'ada'], ['answer', 'ada', 'v=0 ada'], ...of('ben', 'cleo'), ['user-left', 'cleo']]);
      assert.deepEqual([logs.cleo[0], ...logs.cleo.slice(1).sort()], [
        ['room-users', 'ada', 'ben'],
        ['answer', 'ada', 'v=0 ada'],
        ['answer', 'ben', 'v=0 ben'],
      ]);
    });
  }
});
