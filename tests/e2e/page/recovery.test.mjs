import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { freePort, start } from '../support/callgate.mjs';
import { freshRoom, openPeople } from './people.mjs';

let daemon;
let people;
let config;
before(async () => {
  config = { http: { port: await freePort('tcp') }, turn: { port: await freePort('both') }, rooms: { grace: '2m' } };
  daemon = await start({ config });
  people = await openPeople(daemon);
});
afterEach(() => people.clear());
after(async () => {
  await people?.close();
  await daemon?.stop();
});

async function pair() {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada');
  const ben = await people.join(room, 'Ben');
  await Promise.all([ada.connected('Ben'), ben.connected('Ada')]);
  return { room, ada, ben };
}

const cut = (who) => who.page.evaluate(() => window.callgate.room.socket.io.engine.close());

test('signaling is lost and found again, and media never notices', async () => {
  const { ada, ben } = await pair();
  const before = await ada.sees('Ben');
  await ada.page.evaluate(() => {
    window.states = [];
    window.callgate.room.on('state', ({ state, resumed }) => window.states.push([state, resumed]));
  });
  await cut(ada);
  // Said while there is no connection: it goes out afterwards.
  const said = ada.page.evaluate(() => window.callgate.room.chat('written in the dark').then((m) => m.text));
  await ada.wait('joined again', () => ada.page.evaluate(() => window.states.some(([state]) => state === 'joined')));
  assert.equal(await said, 'written in the dark');
  await ben.wait('the line', async () => (await ben.lines()).includes('written in the dark'));
  assert.deepEqual(await ada.page.evaluate(() => window.states), [['reconnecting', undefined], ['joined', true]]);
  const afterwards = await ada.sees('Ben');
  assert.equal(afterwards.peerId, before.peerId);
  assert.equal(afterwards.ufrag, before.ufrag, 'no ICE restart, let alone a new connection');
  await Promise.all([ada.watch('Ben'), ben.watch('Ada')]);
  assert.equal((await ben.sees('Ada')).away, false);
});

test('chat of the others is not lost while one is away', async () => {
  const { ada, ben } = await pair();
  await ada.page.evaluate(() => {
    // Away for a while: socket.io comes back only when told to.
    const { socket } = window.callgate.room;
    socket.io.reconnection(false);
    socket.io.engine.close();
  });
  await ben.wait('Ada away', async () => (await ben.sees('Ada')).away);
  for (const text of ['one', 'two', 'three']) await ben.page.evaluate((line) => window.callgate.room.chat(line), text);
  await ada.page.evaluate(() => {
    window.callgate.room.socket.io.reconnection(true);
    window.callgate.room.socket.connect();
  });
  await ada.wait('all lines', async () => (await ada.lines()).join() === 'one,two,three');
  await ben.wait('Ada back', async () => (await ben.sees('Ada')).away === false);
});

test('a third one who came while one was away is connected after the return', async () => {
  const { room, ada, ben } = await pair();
  await ada.page.evaluate(() => {
    const { socket } = window.callgate.room;
    socket.io.reconnection(false);
    socket.io.engine.close();
  });
  await ben.wait('Ada away', async () => (await ben.sees('Ada')).away);
  const chiara = await people.join(room, 'Chiara');
  await chiara.connected('Ben');
  await ada.page.evaluate(() => {
    window.callgate.room.socket.io.reconnection(true);
    window.callgate.room.socket.connect();
  });
  await Promise.all([ada.connected('Chiara'), chiara.connected('Ada')]);
  await Promise.all([ada.watch('Chiara', 5), chiara.watch('Ada', 5)]);
});

test('an ICE restart from either side, or both at once, keeps the call', async () => {
  const { ada, ben } = await pair();
  for (const who of [[ada], [ben], [ada, ben]]) {
    const before = await ada.sees('Ben');
    await Promise.all(who.map((each) => each.page.evaluate(() => window.callgate.room.restartIce())));
    await ada.wait('new credentials', async () => {
      const now = await ada.sees('Ben');
      return now.ufrag !== before.ufrag && now.connection === 'connected';
    });
    await Promise.all([ada.watch('Ben', 5), ben.watch('Ada', 5)]);
    assert.equal((await ada.sees('Ben')).peerId, before.peerId);
  }
});

test('the browser goes offline and online again', async () => {
  const { ada, ben } = await pair();
  await ada.page.context().setOffline(true);
  await ada.waitText('banner', /Lost touch/);
  await ada.watch('Ben', 5);
  await ben.page.evaluate(() => window.callgate.room.chat('are you there?'));
  await ada.page.context().setOffline(false);
  await ada.wait('joined again', () => ada.page.evaluate(() => window.callgate.room.state === 'joined'));
  await ada.wait('no banner', async () => !(await ada.page.isVisible('[data-testid=banner]')));
  await ada.wait('the line', async () => (await ada.lines()).join() === 'are you there?');
  await Promise.all([ada.watch('Ben', 5), ben.watch('Ada', 5)]);
});

test('both begin at the same time on a running connection', async () => {
  const { ada, ben } = await pair();
  await Promise.all(
    [ada, ben].map((each) =>
      each.page.evaluate(() => {
        const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
        const context = canvas.getContext('2d');
        setInterval(() => context.fillRect(Math.random() * 64, 0, 8, 64), 100);
        window.callgate.room.addStream(canvas.captureStream(10));
      }),
    ),
  );
  for (const [one, other] of [[ada, 'Ben'], [ben, 'Ada']]) {
    await one.wait('a second stream', () =>
      one.page.evaluate((name) => [...window.callgate.room.peers.values()].find((p) => p.name === name).streams.size === 2, other),
    );
    assert.equal((await one.sees(other)).connection, 'connected');
  }
});

test('the server is restarted and has forgotten everybody: the call is built anew', async () => {
  const { ada, ben } = await pair();
  await daemon.stop();
  await ada.waitText('banner', /Lost touch/);
  daemon = await start({ config });
  await Promise.all([ada, ben].map((each) => each.wait('joined again', () => each.page.evaluate(() => window.callgate.room?.state === 'joined'))));
  await Promise.all([ada.connected('Ben'), ben.connected('Ada')]);
  await Promise.all([ada.watch('Ben', 5), ben.watch('Ada', 5)]);
  await ada.wait('one tile', async () => (await ada.page.locator('[data-testid=tile]').count()) === 1);
});

test('the server is restarted and knows the places of before: nobody is gone, and media goes on', async (t) => {
  const { ada, ben, stop } = await restartable(t);
  const before = { ada: await ben.sees('Ada'), ben: await ada.sees('Ben') };
  await Promise.all([ada, ben].map(record));
  await stop();
  await ada.waitText('banner', /Lost touch/);
  await stop.again();
  await Promise.all([ada, ben].map((each) => each.wait('joined again', async () => (await told(each)).includes('state joined true'))));
  await Promise.all([ada, ben].map((each, i) => each.wait('the other one back', async () => (await each.sees(['Ben', 'Ada'][i])).away === false)));
  await ada.page.evaluate(() => window.callgate.room.chat('through the restart'));
  await ben.wait('the line', async () => (await ben.lines()).join() === 'through the restart');
  assert.deepEqual([(await ben.sees('Ada')).peerId, (await ada.sees('Ben')).peerId], [before.ada.peerId, before.ben.peerId], 'the same places');
  assert.deepEqual([(await ben.sees('Ada')).ufrag, (await ada.sees('Ben')).ufrag], [before.ada.ufrag, before.ben.ufrag], 'the same connections');
  for (const each of [ada, ben]) assert.ok(!(await told(each)).some((line) => line.startsWith('peer-left')), 'nobody was gone');
  await Promise.all([ada.watch('Ben', 5), ben.watch('Ada', 5)]);
});

/** Two people at a server with a state folder that outlives it. */
async function restartable(t) {
  const folder = await mkdtemp(join(tmpdir(), 'callgate-recovery-'));
  const own = { http: { port: await freePort('tcp') }, turn: { port: await freePort('both') }, rooms: { grace: '2m' } };
  const options = { config: own, env: { STATE_DIRECTORY: folder } };
  let server = await start(options);
  let guests;
  t.after(async () => {
    await guests?.close();
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });
  guests = await openPeople(server);
  const stop = async () => {
    await server.stop();
    server = undefined;
  };
  stop.again = async () => (server = await start(options));
  const room = freshRoom();
  const [ada, ben] = [await guests.join(room, 'Ada'), await guests.join(room, 'Ben')];
  await Promise.all([ada.connected('Ben'), ben.connected('Ada')]);
  return { ada, ben, stop };
}

test('what was written into a dead socket is said again, and heard once and in order', async () => {
  const { ada, ben, swallow } = await pairWithDyingSockets();
  await ben.page.evaluate(() => window.callgate.room.chat('before'));
  await ada.wait('the first line', async () => (await ada.lines()).length === 1);
  swallow();
  // The server writes these into a connection that takes them and delivers nothing.
  for (const line of ['one', 'two', 'three']) await ben.page.evaluate((text) => window.callgate.room.chat(text), line);
  // And this goes out into the same nothing: it is said again under its own id.
  const said = ada.page.evaluate(() => window.callgate.room.chat('mine').then((m) => m.own));
  await ada.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await ada.wait('joined again', async () => (await told(ada)).includes('state joined true'));
  assert.equal(await said, true);
  await ada.wait('all lines', async () => (await ada.lines()).length >= 4);
  await ben.wait('the line', async () => (await ben.lines()).includes('mine'));
  await new Promise((done) => setTimeout(done, 1_000));
  assert.deepEqual(await ada.lines(), ['before', 'one', 'two', 'three'], 'once each, in order');
  assert.deepEqual(await ben.lines(), ['mine']);
});

test('whoever is new waits until somebody in the room answers the door', async () => {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada');
  await ada.page.evaluate(() => window.callgate.room.lock({ lobby: true }));
  const visits = { Ben: 'doorbell-out', Chiara: 'doorbell-in' };
  for (const [name, answer] of Object.entries(visits)) {
    const guest = await people.visit({ room, name, autojoin: '1' });
    await guest.waitText('join', /Waiting to be let in/);
    await ada.waitText('doorbell', new RegExp(`${name} waits`));
    await ada.click(answer);
    if (name === 'Ben') await guest.waitText('ended-title', /not let in/);
    else await Promise.all([guest.connected('Ada'), ada.connected('Chiara')]);
    await ada.wait('nobody at the door', async () => !(await ada.page.isVisible('[data-testid=doorbell]')));
  }
});

/** Between one's page and the server: `swallow()` makes every WebSocket that is open by then a dead one that looks alive. */
async function pairWithDyingSockets() {
  const open = new Set();
  const room = freshRoom();
  const ada = await people.visit({});
  await ada.page.routeWebSocket(/socket\.io/, (client) => {
    const server = client.connectToServer();
    const line = { dead: false };
    open.add(line);
    client.onMessage((message) => line.dead || server.send(message));
    server.onMessage((message) => line.dead || client.send(message));
    client.onClose(() => {});
  });
  await ada.page.goto(`${daemon.url}/?${new URLSearchParams({ room, name: 'Ada', autojoin: '1' })}`);
  await ada.wait('in the room', () => ada.page.evaluate(() => window.callgate?.room?.state === 'joined'));
  const ben = await people.join(room, 'Ben');
  await Promise.all([ada.connected('Ben'), ben.connected('Ada')]);
  await Promise.all([ada, ben].map(record));
  return { ada, ben, swallow: () => open.forEach((line) => (line.dead = true)) };
}

/** Writes down what the room says of signaling, and every exchange of descriptions. */
const record = (who) =>
  who.page.evaluate(() => {
    const { room } = window.callgate;
    window.told = [];
    for (const name of ['state', 'peer-away', 'peer-back', 'peer-left']) {
      room.on(name, ({ state, resumed }) => window.told.push([name, state, resumed].filter((it) => it !== undefined).join(' ')));
    }
    window.exchanges = 0;
    const [peer] = room.peers.values();
    peer.pc.addEventListener('signalingstatechange', () => (window.exchanges += peer.pc.signalingState === 'stable' ? 1 : 0));
  });
const told = (who) => who.page.evaluate(() => window.told);
const exchanges = (who) => who.page.evaluate(() => window.exchanges);

/** For a page, media is in trouble until `cure`: the browser says so whatever is true. */
const ail = (who) =>
  who.page.evaluate(() => {
    const { pc } = [...window.callgate.room.peers.values()][0];
    Object.defineProperty(pc, 'iceConnectionState', { configurable: true, get: () => 'disconnected' });
    pc.dispatchEvent(new Event('iceconnectionstatechange'));
  });
const cure = (who) =>
  who.page.evaluate(() => {
    const { pc } = [...window.callgate.room.peers.values()][0];
    delete pc.iceConnectionState;
    pc.dispatchEvent(new Event('iceconnectionstatechange'));
  });

test('a socket that only looks alive is given up when media is in trouble, and ICE restarts', async () => {
  const { ada, ben, swallow } = await pairWithDyingSockets();
  const before = await ada.sees('Ben');
  swallow();
  const begun = Date.now();
  await ail(ada);
  await ada.wait('joined again', async () => (await told(ada)).includes('state joined true'));
  await ada.wait('new credentials', async () => (await ada.sees('Ben')).ufrag !== before.ufrag);
  // Before a heartbeat could tell: it takes twenty seconds.
  assert.ok(Date.now() - begun < 18_000, `${Date.now() - begun} ms`);
  await cure(ada);
  await Promise.all([ada.watch('Ben'), ben.watch('Ada')]);
  assert.equal((await ada.sees('Ben')).peerId, before.peerId, 'the same connection');
  assert.deepEqual(await told(ada), ['state reconnecting', 'state joined true']);
  assert.deepEqual(await told(ben), [], 'nobody was away');
});

test('what was said into a dead socket is said again, once, and then it is quiet', async () => {
  const { ada, ben, swallow } = await pairWithDyingSockets();
  const before = await ben.sees('Ada');
  swallow();
  // Ben's offer is lost between the server and Ada; Ada's own restart never reaches the server.
  await ben.page.evaluate(() => window.callgate.room.restartIce());
  await ada.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await ben.wait('new credentials', async () => {
    const now = await ben.sees('Ada');
    return now.ufrag !== before.ufrag && (await exchanges(ben)) > 0 && now.connection === 'connected';
  });
  await ada.wait('joined again', async () => (await told(ada)).includes('state joined true'));
  await Promise.all([ada.watch('Ben'), ben.watch('Ada')]);
  // Quiet for longer than an offer waits for its answer.
  const both = async () => [await exchanges(ada), await exchanges(ben)];
  let [last, since] = [await both(), Date.now()];
  await ada.wait('quiet: it is a loop', async () => {
    const now = await both();
    if (now.join() !== last.join()) [last, since] = [now, Date.now()];
    return Date.now() - since > 9_000;
  }, { every: 500 });
  assert.ok(Math.max(...last) <= 6, `${last.join(' and ')} exchanges`);
  assert.equal((await ada.sees('Ben')).connection, 'connected');
});

test('a healthy socket is kept, whatever media does', async () => {
  const { ada, ben } = await pair();
  await record(ada);
  await ail(ada);
  await new Promise((done) => setTimeout(done, 3_000));
  await cure(ada);
  await ada.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await Promise.all([ada.watch('Ben'), ben.watch('Ada')]);
  assert.deepEqual(await told(ada), []);
});
