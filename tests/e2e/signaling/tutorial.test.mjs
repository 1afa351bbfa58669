// The client of a signaling tutorial, as people have it: no word of it is ours.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { closeAll, connect, freshRoom, sleep, startDaemon } from './harness.mjs';

let daemon;
let impatient;
before(async () => {
  daemon = await startDaemon({ ROOMS__WAITING_TIMEOUT: '2m', ROOMS__GRACE: '0s' });
  impatient = await startDaemon({ ROOMS__WAITING_TIMEOUT: '2s', ROOMS__GRACE: '0s' });
});
after(async () => {
  closeAll();
  await Promise.all([daemon, impatient].map((each) => each.stop()));
});

/** The tutorial's page, with a peer connection that only writes down what is asked of it. */
function tutorialPage(socket, roomId, log) {
  // client
  socket.emit('join', { roomId }); // ask server to put you in a room
  socket.on('joined', (data) => {
    log.push(['joined', data.peers.length]);
  });
  socket.on('full', () => log.push(['full']));
  socket.on('peer-joined', ({ peerId }) => {
    log.push(['peer-joined', peerId]);
    socket.emit('offer', { roomId, sdp: { type: 'offer', sdp: 'v=0' } });
    socket.emit('ice-candidate', { roomId, candidate: { candidate: 'a1' } });
  });
  socket.on('offer', ({ from, sdp }) => {
    log.push(['offer', from, sdp.type]);
    socket.emit('answer', { roomId, sdp: { type: 'answer', sdp: 'v=0' } });
    socket.emit('ice-candidate', { roomId, candidate: { candidate: 'b1' } });
  });
  socket.on('answer', ({ from, sdp }) => log.push(['answer', from, sdp.type]));
  socket.on('ice-candidate', ({ from, candidate }) => log.push(['ice-candidate', from, candidate.candidate]));
  socket.on('chat-message', ({ from, msg }) => log.push(['chat-message', from, msg]));
  socket.on('peer-left', ({ peerId }) => log.push(['peer-left', peerId]));
  socket.on('room-closed', () => log.push(['room-closed']));
  socket.on('room-timeout', () => log.push(['room-timeout']));
}

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  test(`the tutorial's call goes through over ${transports.join(', then ')}`, async () => {
    const roomId = freshRoom();
    const [a, b, c] = [0, 0, 0].map(() => connect(daemon.url, { transports }));
    const logs = [[], [], []];
    tutorialPage(a.socket, roomId, logs[0]);
    const { self: idA } = await a.next('joined');
    tutorialPage(b.socket, roomId, logs[1]);
    const { self: idB } = await b.next('joined');
    await a.next('answer');
    await a.next('ice-candidate');
    tutorialPage(c.socket, roomId, logs[2]);
    await c.next('full');
    a.emit('chat-message', { roomId, msg: 'hello' });
    await b.next('chat-message');
    assert.deepEqual(logs[0], [
      ['joined', 0],
      ['peer-joined', idB],
      ['answer', idB, 'answer'],
      ['ice-candidate', idB, 'b1'],
    ]);
    assert.deepEqual(logs[1], [
      ['joined', 1],
      ['offer', idA, 'offer'],
      ['ice-candidate', idA, 'a1'],
      ['chat-message', idA, 'hello'],
    ]);
    assert.deepEqual(logs[2], [['full']]);
    b.kill();
    await a.next('room-closed');
    assert.deepEqual(logs[0].slice(4), [['peer-left', idB], ['room-closed']]);
    // The room is free again.
    tutorialPage(c.socket, roomId, logs[2]);
    assert.deepEqual((await c.next('joined')).peers, []);
  });
}

test('leaving closes the call for the other one', async () => {
  const roomId = freshRoom();
  const [a, b] = [connect(daemon.url), connect(daemon.url)];
  a.emit('join', { roomId });
  await a.next('joined');
  b.emit('join', { roomId });
  await b.next('joined');
  b.emit('leave', { roomId });
  assert.equal((await a.next('peer-left')).reason, 'left');
  await a.next('room-closed');
  // Neither is in the room any more, and both connections live.
  for (const client of [a, b]) {
    assert.equal((await client.ask('offer', { roomId, sdp: {} })).error.code, 'not-a-member');
  }
});

test('a call that nobody joins times out and is deleted', async () => {
  const roomId = freshRoom();
  const a = connect(impatient.url);
  await a.connected();
  const began = Date.now();
  a.emit('join', { roomId });
  await a.next('joined');
  assert.deepEqual(await a.next('room-timeout'), { roomId });
  const took = Date.now() - began;
  assert.ok(took > 1900 && took < 15_000, `${took} ms`);
  a.emit('join', { roomId });
  assert.deepEqual((await a.next('joined')).peers, []);
});

test('a call of two does not time out', async () => {
  const roomId = freshRoom();
  const [a, b] = [connect(impatient.url), connect(impatient.url)];
  await Promise.all([a.connected(), b.connected()]);
  a.emit('join', { roomId });
  await a.next('joined');
  b.emit('join', { roomId });
  await b.next('joined');
  await sleep(2500);
  assert.deepEqual(a.names(), ['joined', 'peer-joined']);
});
