// The SDK without the page: a plain page of the same origin imports /sdk.js.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { resolve } from 'node:path';
import { after, before, test } from 'node:test';
import typescript from 'typescript';
import { openBrowser } from '../support/browser.mjs';
import { start } from '../support/callgate.mjs';
import { freshRoom } from './people.mjs';

let daemon;
let browser;
let page;
before(async () => {
  daemon = await start({ config: { rooms: { capacity: 3 }, turn: { credential_ttl: '1h' } } });
  browser = await openBrowser();
  page = await browser.newPage();
  // A page of the origin that runs no script of ours.
  await page.goto(`${daemon.url}/icon.svg`);
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

test('text and bytes travel over the data channel, in order, to one or to all', async () => {
  const got = await page.evaluate(async (room) => {
    const { join } = await import('/sdk.js');
    const [a, b, c] = [await join({ room, name: 'a' }), await join({ room, name: 'b' }), await join({ room, name: 'c' })];
    const open = (r) =>
      new Promise((done) => {
        const check = () => [...r.peers.values()].filter((p) => p.channel.readyState === 'open').length === 2 && done();
        r.on('data-open', check);
        r.on('peer-joined', check);
        check();
      });
    await Promise.all([a, b, c].map(open));
    const heard = { b: [], c: [] };
    const note = (list) => ({ peer, data }) => list.push([peer.name, typeof data === 'string' ? data : [...new Uint8Array(data)]]);
    b.on('data', note(heard.b));
    c.on('data', note(heard.c));
    const counts = [a.send('to all'), a.send('to b', b.self.peerId), a.send(new Uint8Array([1, 2, 3])), a.send('x', 'nobody')];
    const trip = await a.ping(b.self.peerId);
    // Each connection takes its own time.
    for (let tries = 0; (heard.b.length < 3 || heard.c.length < 2) && tries < 3000; tries += 1) await new Promise((done) => setTimeout(done, 10));
    a.setState({ hand: true });
    const state = await new Promise((done) => b.on('peer-state', ({ peer, state: s }) => s.hand && done([peer.name, s])));
    const info = await a.connectionInfo(c.self.peerId);
    const error = await join({ room, timeout: 60_000 }).then(
      () => 'joined',
      (e) => [e instanceof Error, e.name, e.code],
    );
    await Promise.all([a.leave(), b.leave(), c.leave()]);
    return { heard, counts, trip, state, info: [info.path, info.protocol], error, ended: [a.state, a.closedBecause] };
  }, freshRoom());
  assert.deepEqual(got.heard.b, [['a', 'to all'], ['a', 'to b'], ['a', [1, 2, 3]]]);
  assert.deepEqual(got.heard.c, [['a', 'to all'], ['a', [1, 2, 3]]]);
  assert.deepEqual(got.counts, [2, 1, 2, 0]);
  assert.ok(got.trip > 0 && got.trip < 20_000, `round trip ${got.trip}`);
  assert.deepEqual(got.state, ['a', { hand: true }]);
  assert.deepEqual(got.info, ['direct', 'udp']);
  assert.deepEqual(got.error, [true, 'CallgateError', 'room-full']);
  assert.deepEqual(got.ended, ['closed', 'left']);
});

test('both sides may begin at once on the very first exchange', async () => {
  const got = await page.evaluate(async (room) => {
    const { join } = await import('/sdk.js');
    const { io } = await import('/vendor/socket.io.esm.min.js');
    // A client of another make: perfect negotiation as it stands in W3C webrtc-pc, 10.7. It was there first, and offers as the
    // newcomer does. (Its connection is its own: an offer made behind the SDK's back, on the SDK's, is none it can know of in time.)
    const socket = io({ auth: { dialect: 'native' }, forceNew: true });
    const { iceServers } = await socket.emitWithAck('room.join', { room });
    const pc = new RTCPeerConnection({ iceServers });
    const signal = (kind, data) => socket.emit('signal', { room, kind, data });
    let [polite, makingOffer, ignoreOffer] = [false, false, false];
    let offers = 0;
    pc.onnegotiationneeded = async () => {
      makingOffer = true;
      await pc.setLocalDescription();
      offers += 1;
      signal('offer', pc.localDescription);
      makingOffer = false;
    };
    pc.onicecandidate = ({ candidate }) => candidate && signal('candidate', candidate);
    let before = Promise.resolve();
    const take = async (kind, data) => {
      if (kind === 'candidate') return pc.addIceCandidate(data).catch((error) => ignoreOffer || Promise.reject(error));
      ignoreOffer = kind === 'offer' && (makingOffer || pc.signalingState !== 'stable') && !polite;
      if (ignoreOffer) return undefined;
      await pc.setRemoteDescription({ type: kind, sdp: data.sdp });
      if (kind === 'offer') {
        await pc.setLocalDescription();
        signal('answer', pc.localDescription);
      }
      return undefined;
    };
    socket.on('signal', ({ kind, data }) => (before = before.then(() => take(kind, data))));
    socket.on('room.peer-joined', ({ peer }) => {
      polite = peer.polite;
      pc.createDataChannel('theirs', { negotiated: true, id: 7 });
    });
    const there = new Promise((done) => {
      pc.onconnectionstatechange = () => pc.connectionState === 'connected' && done('connected');
      setTimeout(() => done(pc.connectionState), 60_000);
    });
    const b = await join({ room, name: 'b' });
    const here = new Promise((done) => {
      const look = () => [...b.peers.values()].some((p) => p.connection === 'connected') && done('connected');
      b.on('connection', look);
      look();
      setTimeout(() => done([...b.peers.values()].map((p) => p.connection).join()), 60_000);
    });
    const states = await Promise.all([there, here, before.then(() => 'no error', (error) => error.message)]);
    await b.leave();
    socket.disconnect();
    pc.close();
    return { states, polite, offers };
  }, freshRoom());
  assert.deepEqual(got, { states: ['connected', 'connected', 'no error'], polite: false, offers: 1 });
});

test('requests are refused with the server’s code, and the room goes on', async () => {
  const codes = await page.evaluate(async (room) => {
    const { join } = await import('/sdk.js');
    const bad = await join({ room: 'not a room!' }).catch((e) => e.code);
    const a = await join({ room });
    const long = await a.chat('x'.repeat(200_000)).then(() => 'taken', (e) => e.code);
    const state = a.state;
    const fine = (await a.chat('short')).own;
    await a.leave();
    const late = await a.chat('too late').catch((e) => e.code);
    return [bad, ['too-large', 'bad-request'].includes(long), state, fine, late];
  }, freshRoom());
  assert.deepEqual(codes, ['bad-request', true, 'joined', true, 'closed']);
});

test('who waits in a lobby, loses its connection, and is told that too many of its user come, waits again and is let in', { timeout: 300_000 }, async () => {
  const key = 'a key of thirty-two characters..';
  const own = await start({ config: { auth: { key }, limits: { connects_per_second: 1 } } });
  const part = (object) => Buffer.from(JSON.stringify(object)).toString('base64url');
  const said = `${part({ alg: 'HS256' })}.${part({ sub: 'ben', exp: Math.ceil(Date.now() / 1000) + 600 })}`;
  const token = `${said}.${createHmac('sha256', key).update(said).digest('base64url')}`;
  try {
    const guest = await browser.newPage();
    await guest.goto(`${own.url}/icon.svg`);
    const got = await guest.evaluate(async (token) => {
      const { join } = await import('/sdk.js');
      const { io } = await import('/vendor/socket.io.esm.min.js');
      const open = (auth) => io({ auth: { dialect: 'native', ...auth }, forceNew: true, transports: ['websocket'] });
      const ada = open({ userId: 'ada' });
      let refused = 0;
      let rings = 0;
      let admitted = false;
      const { room: { id: room } } = await ada.emitWithAck('room.create', { lobby: true });
      await ada.emitWithAck('room.join', { room });
      // Only who rings after the refusal is let in: whoever rang before it may have lost that place since.
      ada.on('room.peer-waiting', async ({ peer }) => {
        if (!refused) return;
        rings += 1;
        admitted ||= (await ada.emitWithAck('room.admit', { room, peerId: peer.peerId })).ok;
      });
      let ben;
      let socket;
      let outcome;
      await new Promise((onWaiting) => {
        outcome = join({ room, token, onWaiting, io: (...its) => (socket = io(...its)) }).then((it) => ((ben = it), it.state), (error) => error.code);
      });
      socket.on('connect_error', (error) => (refused += error.message === 'too-many-requests'));
      // The user's other devices take all the places there are.
      const others = Array.from({ length: 20 }, () => open({ token }));
      for (let tries = 0; !refused && tries < 600; tries += 1) {
        // It may have found a place all the same.
        if (socket.connected) socket.io.engine.close();
        others.push(open({ token }));
        await new Promise((done) => setTimeout(done, 100));
      }
      others.forEach((other) => other.disconnect());
      const end = await Promise.race([outcome, new Promise((done) => setTimeout(done, 90_000, 'neither in nor refused'))]);
      await ben?.leave();
      ada.disconnect();
      return { refused: refused > 0, rangAgain: rings > 0, admitted, end };
    }, token);
    assert.deepEqual(got, { refused: true, rangAgain: true, admitted: true, end: 'joined' });
    await guest.close();
  } finally {
    await own.stop();
  }
});

test('the types fit the way the SDK is used', () => {
  const consumer = `
    import { join, CallgateError, type Room, type Peer, type ConnectionInfo } from './sdk.js';
    async function main(media: MediaStream): Promise<Room> {
      const room = await join({ room: 'x', name: 'Ada', kind: 'room', media, relayOnly: false, data: true });
      const off: () => void = room.on('stream', ({ peer, stream }) => { const s: MediaStream = stream; const p: Peer = peer; });
      room.on('data', ({ data }) => { if (typeof data === 'string') data.trim(); else data.byteLength; });
      room.on('chat', (message) => message.text.length);
      room.on('stats', ({ peer, path, roundTrip }) => [peer.peerId, path === 'relayed', (roundTrip ?? 0) + 1]);
      room.on('closed', ({ reason, error }) => error?.code === 'room-full' && reason.length);
      // @ts-expect-error there is no such event
      room.on('peer-exploded', () => {});
      // @ts-expect-error a room id is a must
      await join({ name: 'Ada' });
      // @ts-expect-error the SDK decides what is joined
      room.self.peerId = 'x';
      for (const peer of room.peers.values()) {
        const info: ConnectionInfo | undefined = await room.connectionInfo(peer.peerId);
        const sent: number = room.send(new Uint8Array(3), peer.peerId);
      }
      await room.replaceTrack('video', null);
      room.setRelayOnly(true); room.restartIce(); room.setState({ hand: true }); off();
      await room.leave();
      return room;
    }
    const code = (error: unknown): string | undefined => (error instanceof CallgateError ? error.code : undefined);
  `;
  const web = resolve(import.meta.dirname, '../../../web');
  const name = `${web}/consumer.ts`;
  const options = {
    strict: true, noEmit: true, target: typescript.ScriptTarget.ES2022, module: typescript.ModuleKind.ES2022,
    moduleResolution: typescript.ModuleResolutionKind.Bundler, lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'], types: [],
  };
  const host = typescript.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (path) => (path === name ? consumer : readFile(path));
  host.fileExists = (path) => path === name || fileExists(path);
  const { getSourceFile } = host;
  host.getSourceFile = (path, ...rest) => (path === name ? typescript.createSourceFile(path, consumer, rest[0]) : getSourceFile(path, ...rest));
  const found = typescript.getPreEmitDiagnostics(typescript.createProgram([name], options, host));
  assert.deepEqual(found.map((d) => typescript.flattenDiagnosticMessageText(d.messageText, '\n')), []);
});
