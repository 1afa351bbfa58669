// The store's file while the daemon runs: other programs read and copy it; its disk fills up and is emptied again.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { io } from 'socket.io-client';
import { binary, start, until } from '../support/callgate.mjs';

/** A test is faster than people. */
const limits = { connects_per_second: 0, joins_per_minute: 0, events_per_second: 0, bytes_per_second: 0, rooms_per_user: 0 };

/** Somebody with a connection that ends with the test. */
async function person(t, daemon, userId) {
  const socket = io(daemon.url, { forceNew: true, transports: ['websocket'], auth: { dialect: 'native', userId } });
  t.after(() => socket.disconnect());
  await new Promise((done, failed) => socket.once('connect', done).once('connect_error', failed));
  const ask = (event, body) => socket.timeout(60_000).emitWithAck(event, body);
  const did = async (event, body) => {
    const answer = await ask(event, body);
    assert.ok(answer.ok, `${event}: ${JSON.stringify(answer)}`);
    return answer;
  };
  return { socket, ask, did };
}

async function channel(who) {
  const { room } = await who.did('room.create', { kind: 'channel', name: 'Tea' });
  await who.did('room.join', { room: room.id });
  return room.id;
}

const ready = async (daemon) => JSON.parse(await daemon.get('/ready'));

test('a full disk refuses what has to be kept, calls go on, and it mends itself', { timeout: 600_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'callgate-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'callgate-test', folder]);
  t.after(async () => {
    execFileSync('umount', ['-l', folder]);
    await rm(folder, { recursive: true, force: true });
  });
  const daemon = await start({ folder, config: { limits } });
  t.after(() => daemon.kill('SIGKILL'));
  const amy = await person(t, daemon, 'amy');
  const bob = await person(t, daemon, 'bob');
  const room = await channel(amy);
  await amy.did('room.join', { room: 'a-call', kind: 'call' });
  await bob.did('room.join', { room: 'a-call', kind: 'call' });
  assert.deepEqual(await ready(daemon), { status: 'ready', store: 'ok' });

  spawnSync('dd', ['if=/dev/zero', `of=${join(folder, 'ballast')}`, 'bs=64k'], { stdio: 'ignore' });
  const kept = [];
  let refused;
  for (let n = 0; !refused && n < 5000; n += 1) {
    const said = await amy.ask('chat', { room, clientId: `${n}`, text: `${n} ${'x'.repeat(2000)}` });
    if (said.ok) kept.push(said.id);
    else refused = said.error;
  }
  assert.equal(refused?.code, 'not-stored', JSON.stringify(refused));
  const create = await bob.ask('room.create', { kind: 'channel', name: 'Coffee' });
  assert.equal(create.error?.code, 'not-stored', JSON.stringify(create));
  assert.deepEqual(await ready(daemon), { status: 'ready', store: 'failing' });
  assert.equal((await daemon.metrics()).sum('callgate_store_failing'), 1);
  assert.match(daemon.log(), /cannot be written to.*the disk is full/);
  // The operator is told once, not once a message.
  assert.equal(daemon.log().match(/cannot be written to/g).length, 1);

  // The call does not notice; others can begin one.
  const heard = [];
  bob.socket.on('signal', ({ data }) => heard.push(data.n));
  for (let n = 0; n < 100; n += 1) await amy.did('signal', { room: 'a-call', kind: 'candidate', data: { n } });
  await until('all signals', () => heard.length === 100);
  const cy = await person(t, daemon, 'cy');
  await cy.did('room.join', { room: 'another-call', kind: 'call' });
  // What was said can be read.
  const { messages } = await amy.did('room.history', { room, limit: 3 });
  assert.deepEqual(messages.map(({ id }) => id), kept.slice(-3));

  await rm(join(folder, 'ballast'));
  await until('the store is well', async () => (await ready(daemon)).store === 'ok');
  const again = await amy.did('chat', { room, clientId: `${kept.length}`, text: 'here I am again' });
  await bob.did('room.create', { kind: 'channel', name: 'Coffee' });
  const { messages: last } = await amy.did('room.history', { room, limit: 2 });
  assert.deepEqual(last.map(({ id }) => id), [...kept.slice(-1), again.id]);
  assert.equal(await daemon.stop(), 0, daemon.log());
  const word = execFileSync('sqlite3', [join(folder, 'callgate.db'), 'PRAGMA integrity_check'], { encoding: 'utf8' });
  assert.equal(word.trim(), 'ok');
});

test('sqlite3 reads it and callgate backup copies it while it is written to', { timeout: 300_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'callgate-disk-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const daemon = await start({ folder, config: { limits } });
  t.after(() => daemon.kill('SIGKILL'));
  const amy = await person(t, daemon, 'amy');
  const room = await channel(amy);
  let talking = true;
  let said = 0;
  const talk = (async () => {
    for (; talking; said += 1) await amy.did('chat', { room, text: `message ${said}` });
  })();
  await until('a few messages', () => said > 50);
  const copy = join(folder, 'copy.db');
  const backup = (...args) => {
    const env = { PATH: process.env.PATH, STATE_DIRECTORY: folder };
    return spawnSync(binary(), ['backup', ...args], { encoding: 'utf8', env });
  };
  for (let n = 0; n < 20; n += 1) {
    const name = execFileSync('sqlite3', ['-cmd', '.timeout 5000', join(folder, 'callgate.db'), 'SELECT name FROM rooms'], { encoding: 'utf8' });
    assert.equal(name.trim(), 'Tea');
  }
  const done = backup(copy);
  assert.equal(done.status, 0, done.stderr);
  assert.match(done.stdout, /copy\.db: \d+ bytes; 1 rooms, 1 people in them, \d+ messages, 0 calls\n/);
  assert.equal(statSync(copy).mode & 0o027, 0, 'others may not read it');
  const before = said;
  await until('talk goes on', () => said > before + 20);
  talking = false;
  await talk;
  const again = backup(copy);
  assert.equal(again.status, 1);
  assert.match(again.stderr, /not overwritten/);
  assert.equal(await daemon.stop(), 0, daemon.log());

  // The copy is a store.
  const other = await mkdtemp(join(tmpdir(), 'callgate-disk-'));
  t.after(() => rm(other, { recursive: true, force: true }));
  const second = await start({ folder: other, config: { store: { url: `sqlite:${copy}` } } });
  t.after(() => second.kill('SIGKILL'));
  const { messages } = await (await person(t, second, 'amy')).did('room.history', { room, limit: 5 });
  assert.match(messages.at(-1).text, /^message \d+$/);
  assert.equal(await second.stop(), 0, second.log());
});

test('a store that cannot be used keeps the daemon from starting, and says why', { timeout: 300_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'callgate-disk-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const strange = join(folder, 'strange.db');
  execFileSync('sqlite3', [strange, 'CREATE TABLE notes (x)']);
  for (const [url, why] of [
    [`sqlite:${strange}`, /strange\.db: it is the database of another program/],
    ['sqlite:/proc/nowhere/x.db', /\/proc\/nowhere\/x\.db/],
  ]) {
    await assert.rejects(start({ folder, config: { store: { url } } }), (error) => why.test(error.message));
  }
  const daemon = await start({ folder });
  t.after(() => daemon.kill('SIGKILL'));
  await assert.rejects(start({ folder }), /another callgate is using it/);
  assert.equal(await daemon.stop(), 0, daemon.log());
  // A damaged one does not: it is moved aside.
  writeFileSync(join(folder, 'callgate.db'), 'no database at all'.repeat(1000));
  const healed = await start({ folder });
  t.after(() => healed.kill('SIGKILL'));
  assert.match(healed.log(), /moved aside/);
  assert.equal(await healed.stop(), 0, healed.log());
});
