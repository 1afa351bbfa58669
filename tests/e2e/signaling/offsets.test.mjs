// A client whose path dies without a word comes back and hears what it missed, once and in order: what was written into the dead
// path, too, if it asks for offsets. With socket.io's own reconnection, as anybody has it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { io as connect } from 'socket.io-client';
import { start, until } from '../support/callgate.mjs';
import { dialects, speak } from '../support/dialects.mjs';
import { pathTo } from '../support/path.mjs';
import { sleep } from './harness.mjs';

let daemon;
const closing = [];
before(async () => {
  daemon = await start({ config: { rooms: { grace: '3m' }, limits: { joins_per_minute: 0 } } });
});
after(async () => {
  for (const close of closing) await close();
  await daemon.stop();
});

/** Ada, who is always there, and Ben behind a path of his own, in one room; `asks`: Ben asks for offsets. */
async function pair(dialect, { transports, by, asks }) {
  const path = await pathTo(new URL(daemon.url).port);
  const offsets = {};
  const query = {};
  // A try that was begun while the path was dead is given up after `timeout`; one on a busy machine must be through by then.
  const options = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200, timeout: 4_000, auth: asks ? { offsets } : {} };
  const [ada, ben] = [await speak('native', daemon.url, { user: 'ada' }), await speak(dialect, path.url, { user: 'ben', transports, query, options })];
  closing.push(async () => {
    ada.close();
    ben.close();
    await path.close();
  });
  ben.seen = [];
  ben.socket.onAny((event, it) => {
    if (it?.offset) ben.seen.push((offsets[it.roomId ?? it.room] = it.offset));
  });
  if (by === 'name') ben.socket.io.opts.query = { ...ben.socket.io.opts.query, reconnecting: ben.socket.id };
  const room = await (dialect === 'community' ? ben.enter() : ada.enter());
  await (dialect === 'community' ? ada : ben).enter(room);
  if (dialect !== 'community') await ada.comings.next();
  ben.back = new Promise((done, failed) => {
    ben.socket.on('connect', () => (by === 'name' ? ben.resumed.next(120_000) : ben.rejoin()).then(done, failed));
  });
  let said = 0;
  ada.says = async (many) => {
    for (let n = 0; n < many; n += 1, said += 1) {
      if (said % 2) ada.signal('candidate', { candidate: `${said}` });
      else ada.chat(`${said}`);
    }
    // They have been carried out.
    await ada.socket.timeout(30_000).emitWithAck('room.history', { room });
  };
  return { path, ada, ben };
}

const chats = ({ items }) => items.map(Number);
const candidates = ({ items }) => items.map(({ data }) => Number(data.candidate));
const upTo = (many) => Array.from({ length: many }, (_, n) => n);

/** Waits for a list to be as long as it should. */
async function full(list, length) {
  // (What is missing is told by whoever compares.)
  await until('all of it', () => list.items.length >= length, { every: 10, timeout: 30_000 }).catch(() => {});
}

async function heardAll(ben, many) {
  await full(ben.chats, many / 2);
  await full(ben.signals, many / 2);
  // What would come twice.
  await sleep(50);
  assert.deepEqual(chats(ben.chats), upTo(many).filter((n) => n % 2 === 0));
  assert.deepEqual(candidates(ben.signals), upTo(many).filter((n) => n % 2));
}

const ways = [['websocket'], ['polling'], ['polling', 'websocket']];

/** Ben's path dies, and his page hears that it has another network. Nobody has told the daemon. */
async function comesBack(dialect, transports, by) {
  const { path, ada, ben } = await pair(dialect, { transports, by, asks: true });
  await ada.says(6);
  await heardAll(ben, 6);
  path.dies();
  await ada.says(30);
  path.heals();
  ben.socket.io.engine.close();
  const told = await ben.back;
  assert.deepEqual([told.resumed, told.missed], [true, undefined]);
  await ada.says(4);
  await heardAll(ben, 40);
  assert.equal(new Set(ben.seen).size, ben.seen.length, 'no offset twice');
}

for (const transports of ways) {
  for (const dialect of dialects) {
    test(`${dialect} comes back by token with offsets over ${transports.join(', then ')} and loses nothing`, () => comesBack(dialect, transports, 'token'));
  }
}

for (const dialect of dialects) {
  test(`${dialect} without offsets is told of none, and loses what went into the dead path alone`, async () => {
    const { path, ada, ben } = await pair(dialect, { transports: ['websocket'], by: 'token', asks: false });
    await ada.says(6);
    await heardAll(ben, 6);
    path.dies();
    await ada.says(6);
    // The daemon has written the last of them.
    await until('all of it lost', () => /candidate[^]*\b11\b/.test(path.lost()));
    path.heals();
    ben.socket.io.engine.close();
    await ben.back;
    await ada.says(4);
    await full(ben.chats, 5);
    await full(ben.signals, 5);
    assert.deepEqual([chats(ben.chats), candidates(ben.signals)], [[0, 2, 4, 12, 14], [1, 3, 5, 13, 15]]);
    assert.deepEqual(ben.seen, []);
  });
}

test('the six lines of README do it', async () => {
  const readme = await readFile(resolve(import.meta.dirname, '../../../README.md'), 'utf8');
  const [, example] = /```js\n(const offsets[^]*?)```/.exec(readme);
  assert.equal(example.trim().split('\n').length, 6);
  const path = await pathTo(new URL(daemon.url).port);
  const sure = { forceNew: true, transports: ['websocket'], reconnectionDelay: 50 };
  const io = (url, options) => connect(path.url, { ...sure, ...options });
  const socket = new Function('io', `${example}; return socket`)(io);
  const ada = await speak('native', daemon.url, { user: 'ada' });
  closing.push(async () => {
    ada.close();
    socket.close();
    await path.close();
  });
  const heard = [];
  socket.on('chat-message', ({ msg }) => heard.push(msg));
  const joined = () => new Promise((done) => socket.once('joined', done));
  await joined();
  await ada.enter('tea');
  ada.chat('one');
  await until('the first one', () => heard.length >= 1, { every: 10 });
  path.dies();
  ada.chat('two');
  await sleep(100);
  path.heals();
  socket.io.engine.close();
  assert.equal((await joined()).resumed, true);
  ada.chat('three');
  await until('the third one', () => heard.length >= 3, { every: 10 });
  await sleep(50);
  assert.deepEqual(heard, ['one', 'two', 'three']);
});

describe('it is so', { concurrency: 2 }, () => {
  test('when both ends find out by their heartbeats alone', { timeout: 240_000 }, async () => {
    const pairs = await Promise.all(
      [['call', 'token'], ['mesh', 'name'], ['community', 'name']].flatMap(([dialect, by]) =>
        [['websocket'], ['polling']].map((transports) => pair(dialect, { transports, by, asks: true }))),
    );
    await Promise.all(pairs.map(async ({ path, ada, ben }) => {
      await ada.says(6);
      await heardAll(ben, 6);
      path.dies();
      for (let n = 0; n < 13; n += 1) {
        await ada.says(2);
        await sleep(2_000);
      }
      // The daemon has given the connection up, and the client has tried in vain to make another.
      path.heals();
      const told = await ben.back;
      assert.deepEqual([told.resumed, told.missed], [true, undefined]);
      await ada.says(2);
      await heardAll(ben, 34);
    }));
  });

  test('by name, as soon as the daemon knows that the connection named is dead', { timeout: 240_000 }, () =>
    Promise.all(dialects.flatMap((dialect) => ways.map((transports) => comesBack(dialect, transports, 'name')))));
});
