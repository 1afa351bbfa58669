// Load for two signaling servers in turn, and what it costs them. Run it by run.sh.
//
// The clients are raw WebSockets that speak just enough Socket.IO, so that the generator's core is not the limit.
// CPU is the time on a CPU of all threads of the server's process (/proc/PID/task/*/schedstat); memory is VmRSS.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';

const ROUNDS = Number(process.env.ROUNDS ?? 5);
const CLIENTS = Number(process.env.CLIENTS ?? 1000);
const RATE = Number(process.env.RATE ?? 4000);
const SECONDS = Number(process.env.SECONDS ?? 5);
const BURST = 8;
const CORE = process.env.SERVER_CORE ?? '0';

const SERVERS = {
  node: ['node', new URL('node-server.mjs', import.meta.url).pathname],
  callgate: [process.env.CALLGATE],
  // Another build, to see what a change has done: the ratio stays callgate's to Node's.
  ...(process.env.BEFORE && { before: [process.env.BEFORE] }),
};

const CANDIDATE = {
  candidate: 'candidate:842163049 1 udp 1677729535 203.0.113.77 46154 typ srflx raddr 10.0.0.17 rport 46154 '
    + 'generation 0 ufrag 4ZcD network-cost 999',
  sdpMid: '0',
  sdpMLineIndex: 0,
  usernameFragment: '4ZcD',
};

function cpu(pid) {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  }
  return ns / 1000;
}

const rss = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

async function start(name) {
  const port = await freePort();
  const env = {
    ...process.env,
    PORT: String(port),
    CALLGATE_HTTP__LISTEN: `["127.0.0.1:${port}"]`,
    CALLGATE_TURN__LISTEN: '["127.0.0.1:0"]',
    CALLGATE_TURN__SECRETS: '["a secret for the bench"]',
    // Limits as they are by default; rooms that last in a file of this round's.
    STATE_DIRECTORY: mkdtempSync(join(tmpdir(), 'callgate-bench-')),
    CALLGATE_LIMITS__CONNECTIONS_PER_IP: '0',
    CALLGATE_LOG__FILTER: 'warn',
  };
  const server = spawn('taskset', ['-c', CORE, ...SERVERS[name]], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  for (let tries = 0; ; tries += 1) {
    try {
      await fetch(`http://127.0.0.1:${port}/health`);
      return { server, port, pid: server.pid };
    } catch (error) {
      if (tries > 100 || server.exitCode !== null) throw error;
      await sleep(50);
    }
  }
}

/** How long relayed candidates took, in ms, while it is looked at. */
let late;

class Client {
  constructor(port) {
    this.joined = false;
    this.received = 0;
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, {
      perMessageDeflate: false,
    });
    this.ready = new Promise((resolve, reject) => {
      this.socket.on('error', reject);
      this.socket.on('message', (data) => {
        const text = data.toString('latin1');
        if (text[0] === '0') this.socket.send('40');
        else if (text[0] === '2') this.socket.send('3');
        else if (text.startsWith('40')) resolve();
        else if (text.startsWith('42["ice-candidate"')) {
          this.received += 1;
          const at = text.indexOf('"sent":');
          if (at > 0) late?.push(performance.now() - parseFloat(text.slice(at + 7)));
        }
        else if (text.startsWith('42["joined"')) this.joined = true;
      });
    });
  }

  join(room) {
    this.room = room;
    this.candidate = `42${JSON.stringify(['ice-candidate', { roomId: room, candidate: CANDIDATE }])}`;
    this.timed = JSON.stringify(['ice-candidate', { roomId: room, candidate: { ...CANDIDATE, sent: 0 } }]).split('"sent":0');
    this.socket.send(`42${JSON.stringify(['join', { roomId: room }])}`);
  }
}

async function until(test, what) {
  for (let tries = 0; !test(); tries += 1) {
    if (tries > 2000) throw new Error(`timed out: ${what}`);
    await sleep(5);
  }
}

async function connect(port, count) {
  const clients = [];
  for (let i = 0; i < count; i += 1) {
    const client = new Client(port);
    clients.push(client);
    if (i % 50 === 49) await Promise.all(clients.map((c) => c.ready));
  }
  await Promise.all(clients.map((client) => client.ready));
  return clients;
}

async function measure(name) {
  const { server, port, pid } = await start(name);
  const result = {};
  // Warm-up: the same kinds of work, so that neither is measured while it compiles itself.
  const warm = await connect(port, 50);
  warm.forEach((client, i) => client.join(`warm${i >> 1}`));
  await until(() => warm.every((client) => client.joined), 'warm-up');
  for (let i = 0; i < 200; i += 1) {
    warm.forEach((client) => client.socket.send(client.candidate));
    await sleep(5);
  }
  warm.forEach((client) => client.socket.send('41'));
  await sleep(200);
  warm.forEach((client) => client.socket.close());
  await sleep(1000);

  const rssBefore = rss(pid);
  let before = cpu(pid);
  const clients = await connect(port, CLIENTS);
  await sleep(300);
  result.connect = (cpu(pid) - before) / CLIENTS;

  before = cpu(pid);
  for (let i = 0; i < clients.length; i += 1) {
    clients[i].join(`room${i >> 1}`);
    if (i % 20 === 19) await sleep(10);
  }
  await until(() => clients.every((client) => client.joined), 'joins');
  await sleep(300);
  result.join = (cpu(pid) - before) / CLIENTS;
  await sleep(1500);
  result.rss = (rss(pid) - rssBefore) / CLIENTS;

  // Every connection's buffers are touched once before it counts.
  for (let pass = 0; pass < 2; pass += 1) {
    for (let i = 0; i < clients.length; i += 1) {
      clients[i].socket.send(clients[i].candidate);
      if (i % 20 === 19) await sleep(5);
    }
  }
  const received = () => clients.reduce((sum, client) => sum + client.received, 0);
  const warmed = clients.length * 2;
  await until(() => received() >= warmed, 'second warm-up');
  await sleep(200);

  // Candidates one by one from all over, then as browsers send them: a handful at a time.
  let done = warmed;
  for (const [key, burst] of [['single', 1], ['burst', BURST]]) {
    before = cpu(pid);
    late = [];
    const began = performance.now();
    let sent = 0;
    while (performance.now() - began < SECONDS * 1000) {
      const due = Math.floor(((performance.now() - began) / 1000) * RATE);
      for (; sent < due; sent += burst) {
        const client = clients[((sent / burst) * 7) % clients.length];
        const [before, behind] = client.timed;
        for (let n = 0; n < burst; n += 1) client.socket.send(`42${before}"sent":${performance.now().toFixed(3)}${behind}`);
      }
      await sleep(1);
    }
    done += sent;
    await until(() => received() >= done, `relayed ${sent}`);
    result[key] = (cpu(pid) - before) / sent;
    result[`${key}Late`] = late.toSorted((a, b) => a - b)[Math.floor(late.length * 0.99)];
    late = undefined;
    await sleep(200);
  }
  result.rssUsed = (rss(pid) - rssBefore) / CLIENTS;

  clients.forEach((client) => client.socket.terminate());
  server.kill('SIGKILL');
  await once(server, 'exit');
  return result;
}

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const names = Object.keys(SERVERS);
const results = Object.fromEntries(names.map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const name of round % 2 ? names.toReversed() : names) {
    const result = await measure(name);
    results[name].push(result);
    console.error(round, name, JSON.stringify(result, (_, v) => (typeof v === 'number' ? Math.round(v * 100) / 100 : v)));
  }
}
console.log(`${ROUNDS} rounds, ${CLIENTS} clients, ${RATE} candidates/s for ${SECONDS} s; medians`);
console.log(`what                       ${names.map((name) => name.padStart(11)).join('')}   ratio`);
for (const [key, label] of [
  ['connect', 'CPU µs a connection'],
  ['join', 'CPU µs a join'],
  ['single', 'CPU µs a relayed event'],
  ['burst', `... sent ${BURST} at a time`],
  ['singleLate', 'ms a relayed event, p99'],
  ['burstLate', `... sent ${BURST} at a time`],
  ['rss', 'RSS KiB a connection, joined'],
  ['rssUsed', 'RSS KiB a connection, used'],
]) {
  const figures = names.map((name) => median(results[name].map((r) => r[key])));
  const [node, callgate] = figures;
  console.log(
    `${label.padEnd(29)}${figures.map((figure) => figure.toFixed(1).padStart(11)).join('').slice(2)}${(callgate / node).toFixed(2).padStart(8)}`,
  );
}
process.exit(0);
