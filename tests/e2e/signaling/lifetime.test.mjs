// What happens over time: credentials run out, clients fall silent or stop reading, and nothing is left behind.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { closeAll, connect, freshRoom, sleep, startDaemon, until } from './harness.mjs';

const TTL = 8;
const unlimited = { LIMITS__EVENTS_PER_SECOND: 0, LIMITS__BYTES_PER_SECOND: 0 };
let daemon;
before(async () => {
  daemon = await startDaemon({
    ROOMS__GRACE: '1s',
    TURN__CREDENTIAL_TTL: `${TTL}s`,
    ...unlimited,
  });
});
after(async () => {
  closeAll();
  await daemon.stop();
});

const native = () => connect(daemon.url, { auth: { dialect: 'native' } });

test('fresh credentials are pushed before the old ones end, in the receiver\'s words', async () => {
  const room = freshRoom();
  const [a, b] = [native(), connect(daemon.url)];
  const joined = await a.ask('room.join', { room });
  b.emit('join', { roomId: room });
  await b.next('joined');
  let last = joined.iceServers[1];
  const ends = ({ username }) => Number(username.split(':')[0]);
  for (let n = 1; n <= 2; n += 1) {
    const pushed = await a.next('ice.servers');
    assert.equal(pushed.room, room);
    assert.equal(pushed.iceTtl, TTL);
    const [, turn] = pushed.iceServers;
    assert.equal(turn.credential, createHmac('sha1', 'north-wind').update(turn.username).digest('base64'));
    // By the daemon's clock, whenever we come to read it.
    assert.ok(ends(turn) - TTL < ends(last), 'the old ones had ended');
    assert.equal(turn.username.split(':')[1], last.username.split(':')[1]);
    last = turn;
  }
  // After 13 to 15 twentieths of their time, and a second of rounding.
  const took = ends(last) - ends(joined.iceServers[1]);
  assert.ok(took >= 1.3 * TTL - 1 && took <= 2 * TTL, `${took} s for two`);
  const [stun, turn] = (await b.next('ice-servers')).iceServers;
  assert.ok(stun.urls[0].startsWith('stun:') && turn.username);
});

/** A raw client that joined a room in the call dialect. */
async function raw(roomId) {
  const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/socket.io/?EIO=4&transport=websocket`);
  let joined = false;
  let pong = true;
  socket.on('error', () => {});
  socket.on('message', (data) => {
    const text = data.toString();
    if (text === '2' && pong) socket.send('3');
    if (text[0] === '0') socket.send('40');
    if (text.startsWith('40')) socket.send(`42["join",{"roomId":"${roomId}"}]`);
    if (text.startsWith('42["joined"')) joined = true;
  });
  await once(socket, 'open');
  await until('the answer to joining', () => joined, { every: 10 });
  return { socket, silence: () => (pong = false) };
}

test('a client that stops reading is cut off, the others are told, and their room goes on', async () => {
  const room = freshRoom();
  const [a, b] = [native(), native()];
  await a.ask('room.join', { room });
  await b.ask('room.join', { room });
  const { socket } = await raw(room);
  await a.next('room.peer-joined');
  socket.pause();
  const began = Date.now();
  const data = 'x'.repeat(50_000);
  let sent = 0;
  while (!a.names().includes('room.peer-away') && Date.now() - began < 60_000) {
    await a.ask('signal', { room, kind: 'offer', data });
    sent += 1;
  }
  assert.ok(a.names().includes('room.peer-away'), `not after ${sent} messages`);
  const { reason } = await a.next('room.peer-left');
  assert.equal(reason, 'lost');
  // What it was sent comes before this.
  await b.next('room.peer-left');
  assert.equal(b.names().filter((name) => name === 'signal').length, sent, 'the healthy one got everything');
  socket.terminate();
});

test('who was cut off while much was waiting and comes back is given the latest of it, and told how much is lost', async (t) => {
  const patient = await startDaemon({ ...unlimited, ROOMS__GRACE: '2m' });
  t.after(() => patient.stop());
  const room = freshRoom();
  const [a, b, again] = [0, 0, 0].map(() => connect(patient.url, { auth: { dialect: 'native' } }));
  await a.ask('room.join', { room });
  const { resume } = await b.ask('room.join', { room });
  b.socket.io.engine.transport.ws._socket.pause();
  let sent = 0;
  for (const began = Date.now(); !a.names().includes('room.peer-away') && Date.now() - began < 60_000; sent += 1) {
    await a.ask('signal', { room, kind: 'offer', data: `${sent} ${'x'.repeat(50_000)}` });
  }
  assert.ok(a.names().includes('room.peer-away'), `not after ${sent} messages`);
  b.kill();
  const answer = await again.ask('room.join', { room, resume });
  assert.equal(answer.resumed, true);
  await a.ask('chat', { room, text: 'the last word' });
  await again.next('chat');
  const numbers = again.heard.filter(([name]) => name === 'signal').map(([, { data }]) => parseInt(data, 10));
  assert.ok(numbers.length >= 4, `only ${numbers}`);
  assert.deepEqual(numbers, numbers.map((_, i) => sent - numbers.length + i), 'the latest, in order');
  assert.ok(answer.missed > 0 && answer.missed + numbers.length <= sent, `${answer.missed} missed`);
});

test('a client that falls silent is found out by the heartbeat', { timeout: 120_000 }, async () => {
  const room = freshRoom();
  const a = native();
  await a.ask('room.join', { room });
  const client = await raw(room);
  await a.next('room.peer-joined');
  client.silence();
  const began = Date.now();
  await a.next('room.peer-away', 60_000);
  // Every 10 s, and 10 s to answer.
  const took = Date.now() - began;
  assert.ok(took < 35_000, `${took} ms`);
  client.socket.terminate();
});

test('a polling client that goes away is found out too', { timeout: 120_000 }, async () => {
  const room = freshRoom();
  const a = native();
  await a.ask('room.join', { room });
  const b = connect(daemon.url, { transports: ['polling'] });
  b.emit('join', { roomId: room });
  await b.next('joined');
  await a.next('room.peer-joined');
  b.kill();
  await a.next('room.peer-away', 60_000);
});

test('when everyone has gone nothing is left', async () => {
  const rooms = Array.from({ length: 20 }, freshRoom);
  const clients = [];
  for (const room of rooms) {
    for (let n = 0; n < 3; n += 1) {
      const client = native();
      await client.ask('room.join', { room });
      clients.push(client);
    }
  }
  for (const [n, client] of clients.entries()) {
    if (n % 3 === 0) client.disconnect();
    else client.kill();
  }
  closeAll();
  for (const name of ['callgate_connections', 'callgate_rooms', 'callgate_peers']) {
    await until(`no ${name}`, async () => (await daemon.metric(name)) === 0);
  }
});
