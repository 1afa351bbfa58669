// Five thousand members in 2,500 rooms, all talking; then every connection breaks at once, and then the daemon itself is killed.
// Everybody comes back to its own seat, and nothing that was acknowledged is lost or heard twice.
//
// The clients are raw WebSockets that speak just enough Socket.IO: one process has to be five thousand browsers.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { open as openRelay } from '../../interop/turn.mjs';
import { startDaemon } from './harness.mjs';

const PEERS = Number(process.env.PEERS ?? 5000);
/** How many of the rooms have a call that is relayed. */
const CALLS = 10;

let daemon;
let peers = [];
before(async () => {
  // The daemon takes half of what it may open for connections.
  const need = 2 * PEERS + 1000;
  execFileSync('prlimit', [`--pid=${process.pid}`, `--nofile=${need}:${Math.max(need, 20_000)}`]);
  daemon = await startDaemon({ LIMITS__CONNECTIONS_PER_IP: 0, ROOMS__GRACE: '5m', ROOMS__WAITING_TIMEOUT: '5m' });
});
after(async () => {
  peers.forEach((peer) => peer.cut());
  await daemon.stop();
});

/** CPU time of the daemon so far, in ms. */
function cpu() {
  const tasks = readdirSync(`/proc/${daemon.child.pid}/task`);
  const ns = tasks.map((task) => Number(readFileSync(`/proc/${daemon.child.pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]));
  return ns.reduce((sum, each) => sum + each, 0) / 1e6;
}

const memory = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8'))[1]) / 1024;

class Peer {
  constructor(number) {
    this.room = `storm-${number >> 1}`;
    this.have = 0;
    this.said = 0;
    /** How often its seat was asked for again. */
    this.resumes = 0;
    /** Numbers of the other one's that were heard, in order; and of my own that were acknowledged. */
    this.heard = [];
    this.kept = [];
    this.acks = 0;
    this.waiting = new Map();
  }

  /** Connects and takes the seat, its own if there is one, however often it takes. */
  async come() {
    for (let wait = 100; ; wait = Math.min(2 * wait, 3000)) {
      try {
        await this.connect();
        const { id, resume } = this;
        if (resume) this.resumes += 1;
        const answer = await this.ask('room.join', resume ? { room: this.room, resume, have: this.have } : { room: this.room });
        assert.equal(answer.ok, true, JSON.stringify(answer));
        if (id) assert.deepEqual([answer.self.peerId, answer.resumed], [id, true]);
        this.id = answer.self.peerId;
        this.resume = answer.resume;
        this.iceServers = answer.iceServers;
        assert.equal(answer.missed, undefined, `${answer.missed} events lost`);
        return;
      } catch (error) {
        this.cut();
        if (error instanceof assert.AssertionError) throw error;
        await sleep(wait * (0.5 + Math.random()));
      }
    }
  }

  connect() {
    const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
    this.socket = socket;
    return new Promise((resolve, reject) => {
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('closed')));
      socket.on('message', (data) => {
        if (this.socket !== socket) return;
        const text = data.toString();
        if (text[0] === '0') socket.send('40');
        else if (text[0] === '2') socket.send('3');
        else if (text.startsWith('40')) resolve();
        else if (text.startsWith('43')) this.acknowledged(text);
        else if (text.startsWith('42')) this.hear(JSON.parse(text.slice(2)));
      });
    });
  }

  hear([event, body]) {
    if (body.seq === undefined) return;
    assert.ok(body.seq > this.have, `event ${body.seq} after ${this.have}`);
    this.have = body.seq;
    if (event === 'signal') this.heard.push(body.data);
  }

  ask(event, body) {
    this.acks += 1;
    const id = this.acks;
    this.socket.send(`42${id}${JSON.stringify([event, body])}`);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, resolve);
      this.socket.once('close', () => reject(new Error('closed')));
    });
  }

  acknowledged(text) {
    const at = text.indexOf('[');
    const id = Number(text.slice(2, at));
    const [answer] = JSON.parse(text.slice(at));
    // The next process counts anew, and the first event may come right behind.
    if (answer.restored) this.have = 0;
    this.waiting.get(id)?.(answer);
    this.waiting.delete(id);
  }

  /** Says the next number, and notes when it is known to have been taken. */
  say() {
    if (this.socket?.readyState !== WebSocket.OPEN || !this.id) return;
    this.said += 1;
    const number = this.said;
    this.ask('signal', { room: this.room, kind: 'note', data: number }).then(
      (answer) => answer.ok && this.kept.push(number),
      () => {},
    );
  }

  /** Breaks the connection without a word. */
  cut() {
    this.waiting.clear();
    const { socket } = this;
    this.socket = undefined;
    socket?.on('error', () => {});
    socket?.terminate();
  }
}

/** All of them say something every two seconds or so. */
function chatter() {
  let next = 0;
  const each = Math.ceil(PEERS / 100);
  const timer = setInterval(() => {
    for (let n = 0; n < each; n += 1, next += 7) peers[next % PEERS].say();
  }, 20);
  return () => clearInterval(timer);
}

/** Everything that was acknowledged was heard by the other one, once and in order. */
async function settled() {
  const missing = () => {
    let count = 0;
    peers.forEach((peer, n) => {
      const heard = new Set(peers[n ^ 1].heard);
      count += peer.kept.filter((number) => !heard.has(number)).length;
    });
    return count;
  };
  for (const end = Date.now() + 60_000; missing() && Date.now() < end; ) await sleep(200);
  assert.equal(missing(), 0, 'acknowledged, and never heard');
  for (const { heard } of peers) {
    assert.ok(heard.every((number, i) => i === 0 || number > heard[i - 1]), `twice or out of order: ${heard}`);
  }
  return peers.reduce((sum, { kept }) => sum + kept.length, 0);
}

/** Calls over the relay between the members of the first rooms, which must not notice anything. */
async function relayed() {
  const flows = [];
  for (let n = 0; n < CALLS; n += 1) {
    const ends = [];
    for (const peer of peers.slice(2 * n, 2 * n + 2)) {
      const { username, credential, urls } = peer.iceServers.find((server) => server.username);
      const port = Number(/^turn:[^?]*:(\d+)\?transport=udp/.exec([urls].flat()[0])[1]);
      const client = await openRelay({ port, username, credential, from: `127.0.8.${2 * n + ends.length + 1}` });
      assert.equal((await client.allocate()).code, 0);
      ends.push(client);
    }
    assert.deepEqual(await Promise.all([ends[0].bind(0x4000, ends[1].relayed), ends[1].bind(0x4000, ends[0].relayed)]), [0, 0]);
    flows.push({ ends, sent: 0 });
  }
  const timer = setInterval(() => {
    for (const flow of flows) {
      flow.ends.forEach((end) => end.sendOn(0x4000, 'x'.repeat(200)));
      flow.sent += 1;
    }
  }, 20);
  return {
    flows,
    /** What was sent, and the least that one of them got of it. */
    async stop() {
      clearInterval(timer);
      const got = ({ ends }) => Math.min(...ends.map(({ packets }) => packets));
      for (const end = Date.now() + 10_000; flows.some((flow) => got(flow) < flow.sent) && Date.now() < end; ) await sleep(100);
      flows.forEach(({ ends }) => ends.forEach((end) => end.close()));
      return flows.map((flow) => ({ sent: flow.sent, got: got(flow) }));
    },
  };
}

async function timed(t, what, work) {
  const [began, used] = [performance.now(), cpu()];
  await work();
  const seconds = (performance.now() - began) / 1000;
  const spent = cpu() - used;
  t.diagnostic(`${what}: ${seconds.toFixed(1)} s, ${spent.toFixed(0)} ms of the daemon's CPU (${((1000 * spent) / PEERS).toFixed(0)} µs each), ${memory().toFixed(0)} MiB resident`);
}

test(`${PEERS} members come, talk, are all cut off at once, and are all back`, { timeout: 600_000 }, async (t) => {
  peers = Array.from({ length: PEERS }, (_, n) => new Peer(n));
  await timed(t, 'everybody comes', () => Promise.all(peers.map((peer) => peer.come())));
  assert.equal(await daemon.metric('callgate_peers'), PEERS);
  const relay = await relayed();
  const quiet = chatter();
  await timed(t, 'three seconds of talk', () => sleep(3000));

  const ids = peers.map((peer) => peer.id);
  peers.forEach((peer) => peer.cut());
  await timed(t, 'everybody comes back', () => Promise.all(peers.map((peer) => peer.come())));
  assert.deepEqual(peers.map((peer) => peer.id), ids, 'each in its own seat');
  await sleep(3000);
  quiet();
  // On a machine that is busy with five thousand browsers a packet may be lost to a full buffer of the kernel's.
  for (const { sent, got } of await relay.stop()) {
    assert.ok(sent > 100 && got >= sent - Math.max(2, 0.01 * sent), `${got} of ${sent} packets of a call`);
  }
  t.diagnostic(`${await settled()} signals acknowledged, each heard once`);
  assert.equal(await daemon.metric('callgate_peers'), PEERS);
  // Once each, but for those whose connection broke before the answer.
  const resumes = await daemon.metric('callgate_resumes_total');
  const asked = peers.reduce((sum, peer) => sum + peer.resumes, 0);
  assert.ok(resumes >= PEERS && resumes <= asked, `${resumes} resumes, asked for ${asked} times`);
});

test('the daemon is killed, and everybody is back in the next one', { timeout: 600_000 }, async (t) => {
  const ids = peers.map((peer) => peer.id);
  await daemon.kill();
  peers.forEach((peer) => peer.cut());
  await daemon.again();
  await timed(t, 'everybody comes back', () => Promise.all(peers.map((peer) => peer.come())));
  assert.deepEqual(peers.map((peer) => peer.id), ids, 'each in its own seat');
  assert.equal(await daemon.metric('callgate_peers'), PEERS);
  for (const peer of peers) [peer.kept, peer.heard] = [[], []];
  const quiet = chatter();
  await sleep(3000);
  const kept = () => peers.reduce((sum, peer) => sum + peer.kept.length, 0);
  for (const end = Date.now() + 60_000; kept() <= PEERS / 2 && Date.now() < end; ) await sleep(100);
  quiet();
  assert.ok((await settled()) > PEERS / 2);
});
