// What was acknowledged is kept, whenever the daemon is killed: rooms are made and ended, people invited and banned, things
// said, by several clients at once; then SIGKILL at a random moment, and a look at the file with `sqlite3`, and at the rooms
// as clients see them. Again and again, on the same file.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';
import { freePort, start } from '../support/callgate.mjs';

const ROUNDS = Number(process.env.ROUNDS ?? 25);
const CLIENTS = 4;

/** A test is faster than people. */
const limits = { connects_per_second: 0, joins_per_minute: 0, events_per_second: 0, bytes_per_second: 0, rooms_per_user: 0 };

const folder = await mkdtemp(join(tmpdir(), 'callgate-crash-'));
const file = join(folder, 'callgate.db');
after(() => rm(folder, { recursive: true, force: true }));

/** Rows of the file as it is, seen by another program. */
const rows = (sql) => JSON.parse(execFileSync('sqlite3', ['-json', '-cmd', '.timeout 5000', file, sql], { encoding: 'utf8', maxBuffer: 1 << 30 }) || '[]');

// What the clients know. A state is 'asked' until it is acknowledged, and then 'done'.
/** name → who asked for a room of that name and was not told of it; a name is given once. */
const unheard = new Map();
/** id → { name, creator, ended: undefined | 'asked' | 'done', people: user → [standings that may be], said: clientId → … } */
const rooms = new Map();
let numbers = 0;

class Client {
  constructor(url, n) {
    this.user = `user-${n}`;
    this.socket = io(url, { forceNew: true, reconnection: false, transports: ['websocket'], auth: { dialect: 'native', userId: this.user } });
    this.acks = 0;
  }

  /** The acknowledgement; never, if the daemon dies first. */
  ask(event, body) {
    return new Promise((done) => this.socket.emit(event, body, done));
  }

  async did(event, body) {
    const answer = await this.ask(event, body);
    assert.ok(answer.ok, `${event} ${JSON.stringify(body)}: ${JSON.stringify(answer)}`);
    this.acks += 1;
    return answer;
  }

  /** Until the daemon dies. */
  async live() {
    await new Promise((done) => this.socket.once('connect', done));
    const old = [...rooms].filter(([, it]) => it.creator === this.user && !it.ended).map(([id]) => id);
    // What was asked and not acknowledged is asked again under the same id of ours: it must not be said twice.
    for (const id of old.slice(-2)) {
      await this.did('room.join', { room: id });
      for (const [clientId, it] of rooms.get(id).said) if (!it.done) await this.say(id, clientId, it.text);
    }
    // A connection sits in sixteen rooms at most.
    let stays = old.slice(-2).length;
    for (let own = old.at(-1); ; ) {
      if (!own || Math.random() < 0.04) {
        if (own && (stays > 10 || Math.random() < 0.8)) {
          stays -= 1;
          rooms.get(own).ended = 'asked';
          await this.did('room.delete', { room: own });
          rooms.get(own).ended = 'done';
        }
        const name = `Tea ${(numbers += 1)}`;
        unheard.set(name, this.user);
        own = (await this.did('room.create', { kind: 'channel', name })).room.id;
        unheard.delete(name);
        rooms.set(own, room(name, this.user));
        await this.did('room.join', { room: own });
        stays += 1;
      } else if (Math.random() < 0.15) {
        await this.person(own, 'room.invite', `guest-${Math.floor(Math.random() * 200)}`, 'invited');
      } else if (Math.random() < 0.1) {
        await this.person(own, 'room.ban', `pest-${Math.floor(Math.random() * 8)}`, 'banned');
      } else {
        const clientId = `${(numbers += 1)}`;
        await this.say(own, clientId, `${clientId}: ${'x'.repeat(Math.random() * 300)}`);
      }
    }
  }

  async person(room, event, userId, standing) {
    const { people } = rooms.get(room);
    people.set(userId, [...(people.get(userId) ?? [undefined]), standing]);
    await this.did(event, { room, userId });
    people.set(userId, [standing]);
  }

  async say(room, clientId, text) {
    const line = rooms.get(room).said.get(clientId) ?? { text, done: false, id: undefined };
    rooms.get(room).said.set(clientId, line);
    const { id } = await this.did('chat', { room, text, clientId });
    Object.assign(line, { done: true, id });
  }
}

const room = (name, creator) => ({ name, creator, ended: undefined, people: new Map(), said: new Map() });

function look() {
  assert.deepEqual(rows('PRAGMA integrity_check'), [{ integrity_check: 'ok' }]);
  assert.deepEqual(rows('PRAGMA foreign_key_check'), []);
  const kept = new Map(rows('SELECT id, creator, kind, name FROM rooms').map((row) => [row.id, row]));
  const people = new Map(rows('SELECT room, user, standing FROM people').map((row) => [`${row.room} ${row.user}`, row.standing]));
  const said = new Map();
  for (const row of rows('SELECT room, id, user, text, client_id FROM messages ORDER BY seq')) {
    if (!said.has(row.room)) said.set(row.room, []);
    said.get(row.room).push(row);
  }
  for (const [id, { name }] of kept) {
    if (rooms.has(id)) continue;
    assert.ok(unheard.has(name), `nobody asked for ${name}`);
    rooms.set(id, room(name, unheard.get(name)));
  }
  unheard.clear();
  for (const [id, room] of rooms) {
    const row = kept.get(id);
    if (room.ended === 'done') assert.equal(row, undefined, `${id} was ended`);
    else if (!room.ended) assert.ok(row, `${id} was made`);
    if (!row) {
      assert.ok(!said.has(id) && ![...people.keys()].some((key) => key.startsWith(`${id} `)), `half of ${id} is there`);
      rooms.delete(id);
      continue;
    }
    assert.deepEqual([row.creator, row.kind, row.name], [room.creator, 'channel', room.name]);
    room.ended = undefined;
    assert.equal(people.get(`${id} ${room.creator}`), 'moderator', `${id} belongs to its creator`);
    for (const [user, may] of room.people) {
      const standing = people.get(`${id} ${user}`);
      assert.ok(may.includes(standing), `${user} is ${standing} in ${id}, not ${may}`);
      room.people.set(user, [standing]);
    }
    const lines = said.get(id) ?? [];
    assert.equal(new Set(lines.map((line) => line.client_id)).size, lines.length, `something was said twice in ${id}`);
    for (const line of lines) {
      const asked = room.said.get(line.client_id);
      assert.equal(line.text, asked?.text, `${id} holds what nobody said`);
      if (asked.done) assert.equal(line.id, asked.id);
    }
    const there = new Set(lines.map((line) => line.client_id));
    for (const [clientId, line] of room.said) assert.ok(!line.done || there.has(clientId), `${clientId} in ${id} is lost`);
    // One client says one thing after the other: so they are kept.
    const order = lines.map((line) => Number(line.client_id)).filter((n) => room.said.get(`${n}`).done);
    assert.deepEqual(order, order.toSorted((a, b) => a - b), `the order in ${id}`);
  }
}

test(`nothing that was acknowledged is lost by ${ROUNDS} kills`, { timeout: 900_000 }, async (t) => {
  const ports = { http: { port: await freePort() }, turn: { port: await freePort('both') } };
  const config = { ...ports, limits, rooms: { history: 10_000, grace: '1s' } };
  let acks = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const daemon = await start({ config, folder });
    const clients = Array.from({ length: CLIENTS }, (_, n) => new Client(daemon.url, n));
    const lives = clients.map((client) => client.live());
    try {
      // However slow the disk is, something is to be lost.
      const enough = async () => {
        await sleep(100 + Math.random() * 600);
        const end = Date.now() + 30_000;
        while (clients.reduce((sum, client) => sum + client.acks, 0) < 25 && Date.now() < end) await sleep(Math.random() * 10);
      };
      await Promise.race([...lives, enough()]);
    } finally {
      daemon.kill('SIGKILL');
      clients.forEach((client) => client.socket.disconnect());
    }
    assert.equal(await daemon.exited, 'SIGKILL', daemon.log());
    acks += clients.reduce((sum, client) => sum + client.acks, 0);
    look();
  }
  console.log(`# ${acks} acknowledgements, ${rooms.size} rooms, ${rows('SELECT count(*) AS n FROM messages')[0].n} messages`);
  assert.ok(acks > ROUNDS * 20, `only ${acks} acknowledgements`);

  // And as clients see it.
  const daemon = await start({ config, folder });
  const [id, room] = [...rooms].findLast(([, it]) => !it.ended && it.said.size > 3);
  t.after(() => daemon.kill('SIGKILL'));
  const socket = io(daemon.url, { transports: ['websocket'], auth: { dialect: 'native', userId: room.creator } });
  t.after(() => socket.disconnect());
  const seat = await socket.emitWithAck('room.join', { room: id });
  assert.equal(seat.self.rank, 'creator', JSON.stringify(seat));
  const heard = [];
  for (let before; ; ) {
    const page = await socket.emitWithAck('room.history', { room: id, limit: 10, before });
    assert.ok(page.ok, JSON.stringify(page));
    // A page is in the order of saying.
    heard.push(...page.messages.map((message) => message.id).reverse());
    before = page.before;
    if (!before) break;
  }
  const kept = rows(`SELECT id FROM messages WHERE room = '${id}' ORDER BY seq DESC`).map((row) => row.id);
  assert.deepEqual(heard, kept);
  socket.disconnect();
  assert.equal(await daemon.stop(), 0, daemon.log());
});
