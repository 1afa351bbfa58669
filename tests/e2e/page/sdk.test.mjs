// The SDK without the page: a plain page of the same origin imports /sdk.js.

import assert from 'node:assert/strict';
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
    a.setState({ hand: true });
    const state = await new Promise((done) => b.on('peer-state', ({ peer, state: s }) => s.hand && done([peer.name, s])));
    const info = await a.connectionInfo(c.self.peerId);
    const error = await join({ room, timeout: 5_000 }).then(
      () => 'joined',
      (e) => [e instanceof Error, e.name, e.code],
    );
    await Promise.all([a.leave(), b.leave(), c.leave()]);
    return { heard, counts, trip, state, info: [info.path, info.protocol], error, ended: [a.state, a.closedBecause] };
  }, freshRoom());
  assert.deepEqual(got.heard.b, [['a', 'to all'], ['a', 'to b'], ['a', [1, 2, 3]]]);
  assert.deepEqual(got.heard.c, [['a', 'to all'], ['a', [1, 2, 3]]]);
  assert.deepEqual(got.counts, [2, 1, 2, 0]);
  assert.ok(got.trip > 0 && got.trip < 2_000, `round trip ${got.trip}`);
  assert.deepEqual(got.state, ['a', { hand: true }]);
  assert.deepEqual(got.info, ['direct', 'udp']);
  assert.deepEqual(got.error, [true, 'CallgateError', 'room-full']);
  assert.deepEqual(got.ended, ['closed', 'left']);
});

test('both sides may begin at once on the very first exchange', async () => {
  const states = await page.evaluate(async (room) => {
    const { join } = await import('/sdk.js');
    const rooms = [await join({ room, name: 'a' }), await join({ room, name: 'b' })];
    // As a client of another make might: the one who was there offers as well.
    const peer = await new Promise((done) => {
      const [there] = rooms[0].peers.values();
      if (there) done(there);
      rooms[0].on('peer-joined', (event) => done(event.peer));
    });
    peer.pc.setLocalDescription().then(() => {
      const { type, sdp } = peer.pc.localDescription;
      rooms[0].socket.emit('signal', { room, to: peer.peerId, kind: type, data: { type, sdp } }, () => {});
    });
    const connected = rooms.map(
      (r) =>
        new Promise((done) => {
          r.on('connection', ({ state }) => state === 'connected' && done(state));
          setTimeout(() => done([...r.peers.values()][0].pc.iceConnectionState), 15_000);
        }),
    );
    const all = await Promise.all(connected);
    await Promise.all(rooms.map((r) => r.leave()));
    return all;
  }, freshRoom());
  assert.deepEqual(states, ['connected', 'connected']);
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
