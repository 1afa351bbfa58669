// Starts the real binary for a test: a state folder of its own, ports that are free, a config written from an object.
//
//   const daemon = await start({ config: { rooms: { grace: '1s' } } });
//   await fetch(daemon.url + '/health');
//   const m = await daemon.metrics();
//   m.sum('callgate_rooms', { kind: 'call' });
//   await daemon.stop();
//
// The binary is $CALLGATE, else target/release/callgate, else target/debug/callgate.

import { spawn, execFile } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get as getHttp } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { makeCertificate } from './certificate.mjs';

const root = resolve(import.meta.dirname, '../../..');
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** The path of the binary under test; throws when there is none. */
export function binary() {
  if (process.env.CALLGATE) return resolve(process.env.CALLGATE);
  for (const profile of ['release', 'debug']) {
    const path = join(root, 'target', profile, 'callgate');
    if (existsSync(path)) return path;
  }
  throw new Error('no callgate binary: run `cargo build --release`, or set CALLGATE');
}

/**
 * Starts callgate and waits until `/health` answers.
 *
 * `config` is an object of sections, laid over the defaults below; `env` is added to the environment; `netns` names a
 * network namespace to run in (the caller then chooses listening addresses that are free there); `quiet: false` shows
 * the daemon's log; `tls` opens a TLS port with a certificate for callgate.test, localhost and loopback, and gives
 * `tlsPort`, `ca` (PEM) and `caFile`; `folder` is where its state is, and outlives it: for a start after a start.
 * Resolves to `{ url, host, httpPort, turnPort, secret, pid, log(), metrics(), exited, kill(), stop() }`.
 */
export async function start({ config = {}, env = {}, netns, quiet = true, tls = false, folder: given } = {}) {
  const httpPort = config.http?.port ?? (await freePort('tcp'));
  const turnPort = config.turn?.port ?? (await freePort('both'));
  const tlsPort = tls ? (config.tls?.port ?? (await freePort('tcp'))) : undefined;
  const folder = given ?? (await mkdtemp(join(tmpdir(), 'callgate-test-')));
  const pem = tls && makeCertificate(folder, ['callgate.test', 'localhost', '127.0.0.1', '::1']);
  const settings = merge(defaults(httpPort, turnPort, tlsPort, pem), withoutPorts(config));
  const file = join(folder, 'callgate.toml');
  await writeFile(file, toml(settings));

  const [command, ...args] = [...inside(netns), binary(), '--config', file];
  const child = spawn(command, args, {
    env: { ...withoutCallgate(process.env), XDG_STATE_HOME: folder, STATE_DIRECTORY: folder, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      log = (log + text).slice(-200_000);
      if (!quiet) process.stderr.write(text);
    });
  }
  const exited = new Promise((done) => {
    child.once('error', (error) => done(`could not start: ${error.message}`));
    child.once('exit', (code, signal) => done(signal ?? code));
  }).finally(() => running.delete(child));

  const url = `http://127.0.0.1:${httpPort}`;
  const daemon = {
    url,
    host: '127.0.0.1',
    httpPort,
    turnPort,
    tlsPort,
    ca: tls ? await readFile(pem.ca, 'utf8') : undefined,
    caFile: tls ? pem.ca : undefined,
    secret: settings.turn.secrets[0],
    pid: child.pid,
    exited,
    log: () => log,
    get: (path) => get(url + path, netns),
    metrics: async () => metrics(await get(`${url}/metrics`, netns)),
    kill: (signal) => child.kill(signal),
    /** Asks it to end, waits, and resolves to its exit code (or the signal that ended it). */
    async stop() {
      child.kill('SIGTERM');
      const late = sleep(60_000, undefined, { ref: false }).then(() => child.kill('SIGKILL'));
      const code = await Promise.race([exited, late.then(() => exited)]);
      if (!given) await rm(folder, { recursive: true, force: true });
      return code;
    },
  };

  let ended;
  exited.then((code) => (ended = code));
  for (const end = Date.now() + 60_000; ; await sleep(30)) {
    const answer = await get(`${url}/health`, netns).catch(() => undefined);
    if (answer !== undefined) return daemon;
    if (ended !== undefined || Date.now() > end) {
      await daemon.stop();
      throw new Error(`callgate did not come up (${ended ?? 'no answer on /health'}):\n${log}`);
    }
  }
}

/** TURN REST credentials as any back end makes them: `<unix expiry>:<id>` and base64(HMAC-SHA1(secret, username)). */
export function credentials(secret, { id = 'test', ttl = 3600 } = {}) {
  const username = `${Math.floor(Date.now() / 1000) + ttl}:${id}`;
  return { username, credential: createHmac('sha1', secret).update(username).digest('base64') };
}

/** The kernel's ports for connections that go out begin here. */
const [ephemeral] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split('\t').map(Number);
const given = new Set();

/**
 * A port that is free on every address of this machine; `protocol` is 'tcp', 'udp' or 'both'. It is below the kernel's own, so that
 * no connection that goes out takes it before the daemon does, or while the daemon is restarted.
 */
export async function freePort(protocol = 'tcp') {
  const first = 30_000;
  for (let tries = 0; tries < 1_000 && ephemeral > first + 1_000; tries += 1) {
    const port = first + Math.floor(Math.random() * (ephemeral - first));
    if (given.has(port) || !(await isFree(protocol, port))) continue;
    given.add(port);
    return port;
  }
  // A machine of another kind.
  for (;;) {
    const port = await probe(protocol === 'tcp' ? 'tcp' : 'udp', 0);
    if (await isFree(protocol, port)) return port;
  }
}

async function isFree(protocol, port) {
  const each = protocol === 'both' ? ['tcp', 'udp'] : [protocol];
  for (const one of each) if (!(await probe(one, port).then(() => true, () => false))) return false;
  return true;
}

/** Takes the port, or any if it is 0, and leaves it again. */
function probe(protocol, wanted) {
  return new Promise((done, failed) => {
    const socket = protocol === 'tcp' ? createServer() : createSocket('udp6');
    socket.once('error', failed);
    const bound = () => {
      const { port } = socket.address();
      socket.close(() => done(port));
    };
    if (protocol === 'tcp') socket.listen(wanted, '::', bound);
    else socket.bind(wanted, '::', bound);
  });
}

/** Waits until `look()` gives something truthy and returns it; `what` names it in the error. */
export async function until(what, look, { timeout = 60_000, every = 50 } = {}) {
  let last;
  for (const end = Date.now() + timeout; ; await sleep(every)) {
    last = await look();
    if (last) return last;
    if (Date.now() > end) throw new Error(`waited ${timeout} ms for ${what} in vain`);
  }
}

function defaults(httpPort, turnPort, tlsPort, pem) {
  // Above the kernel's ephemeral range, so that nobody else's sockets are in the way.
  const first = 61_000 + 2 * Math.floor(Math.random() * 2_000);
  const { certificate, key } = pem || {};
  return {
    public: { addresses: ['127.0.0.1', '::1'] },
    http: { listen: [`127.0.0.1:${httpPort}`, `[::1]:${httpPort}`] },
    ...(pem && { tls: { listen: [`127.0.0.1:${tlsPort}`, `[::1]:${tlsPort}`], certificate, key } }),
    turn: {
      listen: [`127.0.0.1:${turnPort}`, `[::1]:${turnPort}`],
      secrets: [randomBytes(16).toString('hex')],
      relay_ports: `${first}-${first + 499}`,
      workers: 2,
      peers: { allow: ['127.0.0.0/8', '::1/128'] },
    },
    log: { format: 'text' },
  };
}

function withoutPorts(config) {
  const { port: _http, ...http } = config.http ?? {};
  const { port: _turn, ...turn } = config.turn ?? {};
  const { port: _tls, ...tls } = config.tls ?? {};
  return { ...config, http, turn, tls };
}

/** What a developer's shell sets for callgate must not reach the test. */
function withoutCallgate(env) {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !name.startsWith('CALLGATE') && !['PORT', 'CLIENT_URL'].includes(name)),
  );
}

function inside(netns) {
  return netns ? ['ip', 'netns', 'exec', netns] : [];
}

async function get(url, netns) {
  if (netns) {
    const script = `const r = await fetch(${JSON.stringify(url)}); if (!r.ok) process.exit(1); process.stdout.write(await r.text())`;
    const args = [...inside(netns), process.execPath, '--input-type=module', '-e', script];
    return (await promisify(execFile)(args[0], args.slice(1), { timeout: 20_000 })).stdout;
  }
  const { status, text } = await ask(url);
  if (status < 200 || status > 299) throw new Error(`${url}: ${status}`);
  return text;
}

/**
 * Resolves to `{ status, text }`, over a connection of its own: one that was kept may just have been ended by the daemon, which a
 * test with much to do hears too late.
 */
export function ask(url, headers = {}) {
  return new Promise((done, failed) => {
    const asked = getHttp(url, { agent: false, headers, signal: AbortSignal.timeout(30_000) }, async (answer) => {
      try {
        let text = '';
        for await (const chunk of answer.setEncoding('utf8')) text += chunk;
        done({ status: answer.statusCode, text });
      } catch (error) {
        failed(error);
      }
    });
    asked.on('error', failed);
  });
}

/** Prometheus text as a list of samples; `sum` adds up all samples of a name that carry the labels given. */
export function metrics(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    const [, name, labels, value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (!name) continue;
    const pairs = [...(labels ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text]);
    samples.push({ name, labels: Object.fromEntries(pairs), value: Number(value) });
  }
  const matching = (name, labels) =>
    samples.filter((s) => s.name === name && Object.entries(labels).every(([key, text]) => s.labels[key] === text));
  return {
    samples,
    has: (name) => samples.some((s) => s.name === name),
    sum: (name, labels = {}) => matching(name, labels).reduce((total, s) => total + s.value, 0),
  };
}

function merge(under, over) {
  const isTable = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
  const out = { ...under };
  for (const [key, value] of Object.entries(over)) {
    out[key] = isTable(value) && isTable(out[key]) ? merge(out[key], value) : value;
  }
  return out;
}

function toml(table, path = []) {
  const entries = Object.entries(table);
  const isTable = ([, value]) => value !== null && typeof value === 'object' && !Array.isArray(value);
  const lines = entries.filter((e) => !isTable(e)).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  const head = path.length && lines.length ? [`[${path.join('.')}]`] : [];
  return [...head, ...lines, ...entries.filter(isTable).map(([key, value]) => toml(value, [...path, key]))].join('\n') + '\n';
}
