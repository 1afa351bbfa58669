// What happens over time: credentials run out, clients fall silent or stop reading, and nothing is left behind.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { closeAll, connect, freshRoom, sleep, startDaemon } from './harness.mjs';

let daemon;
before(async () => {
  daemon = await startDaemon({
    ROOMS__GRACE: '1s',
    TURN__CREDENTIAL_TTL: '4s',
    LIMITS__EVENTS_PER_SECOND: 0,
    LIMITS__BYTES_PER_SECOND: 0,
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
  const began = Date.now();
  for (let n = 1; n <= 2; n += 1) {
    const pushed = await a.next('ice.servers', 5000);
    assert.equal(pushed.room, room);
    assert.equal(pushed.iceTtl, 4);
    const [, turn] = pushed.iceServers;
    assert.equal(turn.credential, createHmac('sha1', 'north-wind').update(turn.username).digest('base64'));
    const [expires, id] = turn.username.split(':');
    assert.ok(Number(last.username.split(':')[0]) * 1000 > Date.now(), 'the old ones had ended');
    assert.ok(Number(expires) * 1000 > Date.now() + 2000);
    assert.equal(id, last.username.split(':')[1]);
    last = turn;
  }
  const took = Date.now() - began;
  assert.ok(took > 4000 && took < 6500, `${took} ms for two`);
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
  for (let tries = 0; !joined && tries < 200; tries += 1) await sleep(10);
  assert.ok(joined);
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
  while (!a.names().includes('room.peer-away') && Date.now() - began < 20_000) {
    await a.ask('signal', { room, kind: 'offer', data });
    sent += 1;
  }
  assert.ok(a.names().includes('room.peer-away'), `not after ${sent} messages`);
  const { reason } = await a.next('room.peer-left', 3000);
  assert.equal(reason, 'lost');
  assert.equal(b.names().filter((name) => name === 'signal').length, sent, 'the healthy one got everything');
  socket.terminate();
});

test('who was cut off while much was waiting and comes back is given the latest of it, and told how much is lost', async () => {
  const room = freshRoom();
  const [a, b] = [native(), native()];
  await a.ask('room.join', { room });
  const { resume } = await b.ask('room.join', { room });
  b.socket.io.engine.transport.ws._socket.pause();
  let sent = 0;
  for (const began = Date.now(); !a.names().includes('room.peer-away') && Date.now() - began < 20_000; sent += 1) {
    await a.ask('signal', { room, kind: 'offer', data: `${sent} ${'x'.repeat(50_000)}` });
  }
  assert.ok(a.names().includes('room.peer-away'), `not after ${sent} messages`);
  b.kill();
  const again = native();
  const answer = await again.ask('room.join', { room, resume });
  assert.equal(answer.resumed, true);
  await a.ask('chat', { room, text: 'the last word' });
  await again.next('chat');
  const numbers = again.heard.filter(([name]) => name === 'signal').map(([, { data }]) => parseInt(data, 10));
  assert.ok(numbers.length >= 4, `only ${numbers}`);
  assert.deepEqual(numbers, numbers.map((_, i) => sent - numbers.length + i), 'the latest, in order');
  assert.ok(answer.missed > 0 && answer.missed + numbers.length <= sent, `${answer.missed} missed`);
});

test('a client that falls silent is found out by the heartbeat', { timeout: 40_000 }, async () => {
  const room = freshRoom();
  const a = native();
  await a.ask('room.join', { room });
  const client = await raw(room);
  await a.next('room.peer-joined');
  client.silence();
  const began = Date.now();
  await a.next('room.peer-away', 25_000);
  assert.ok(Date.now() - began < 21_000);
  client.socket.terminate();
});

test('a polling client that goes away is found out too', { timeout: 40_000 }, async () => {
  const room = freshRoom();
  const a = native();
  await a.ask('room.join', { room });
  const b = connect(daemon.url, { transports: ['polling'] });
  b.emit('join', { roomId: room });
  await b.next('joined');
  await a.next('room.peer-joined');
  b.kill();
  await a.next('room.peer-away', 25_000);
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
  await sleep(1500);
  for (let tries = 0; (await daemon.metric('callgate_connections')) > 0 && tries < 100; tries += 1) await sleep(100);
  for (const name of ['callgate_connections', 'callgate_rooms', 'callgate_peers']) {
    assert.equal(await daemon.metric(name), 0, name);
  }
});
