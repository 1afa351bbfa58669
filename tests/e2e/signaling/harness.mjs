// Starts a daemon for a test file, and clients that remember what they hear.
//
// CALLGATE is the binary (default: the debug build); its settings go in through the environment.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';
import { ask, freePort, until } from '../support/callgate.mjs';

const BINARY = process.env.CALLGATE ?? new URL('../../../target/debug/callgate', import.meta.url).pathname;

/** Of the daemons' operator, unless a test has its own. */
const OPERATOR = 'the operator of these tests';
/** Enough for a machine with other things to do. */
const PATIENCE = 30_000;

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A daemon of its own on loopback; `settings`: environment over the defaults, e.g. `{ROOMS__GRACE: '1s'}`. */
export async function startDaemon(settings = {}) {
  const port = await freePort('tcp');
  const state = mkdtempSync(join(tmpdir(), 'callgate-signaling-'));
  const env = {
    PATH: process.env.PATH,
    STATE_DIRECTORY: state,
    CALLGATE_HTTP__LISTEN: `["127.0.0.1:${port}"]`,
    CALLGATE_TURN__LISTEN: `["127.0.0.1:${await freePort('both')}"]`,
    CALLGATE_ADMIN__TOKEN: OPERATOR,
    CALLGATE_TURN__SECRETS: '["north-wind"]',
    CALLGATE_LOG__FILTER: 'warn',
    PORT: String(port),
  };
  for (const [key, value] of Object.entries(settings)) env[`CALLGATE_${key}`] = String(value);
  const url = `http://127.0.0.1:${port}`;
  let child;
  const begin = async () => {
    const made = spawn(BINARY, [], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    child = made;
    running.add(made);
    made.once('exit', () => running.delete(made));
    for (const end = Date.now() + 60_000; ; ) {
      try {
        await ask(`${url}/health`);
        break;
      } catch (error) {
        if (Date.now() > end || made.exitCode !== null) {
          made.kill('SIGKILL');
          throw new Error(`${BINARY} does not start: ${error}`);
        }
        await sleep(50);
      }
    }
  };
  await begin();
  return {
    url,
    port,
    get child() {
      return child;
    },
    /** The same daemon once more: the same state, the same port. */
    again: begin,
    async kill() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
    /** Waits until the daemon takes somebody in the room for away: what is said before that may be lost with the connection. */
    seesAway: (room) =>
      until(`somebody away in ${room}`, async () => {
        const { status, text } = await ask(`${url}/api/rooms/${room}`, { authorization: `Bearer ${env.CALLGATE_ADMIN__TOKEN}` });
        return status === 200 && JSON.parse(text).members.some(({ away }) => away);
      }),
    async metric(name) {
      const { text } = await ask(`${url}/metrics`);
      const lines = text.split('\n').filter((line) => line.startsWith(name) && !line.startsWith('#'));
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      rmSync(state, { recursive: true, force: true });
    },
  };
}

const open = new Set();

/** A client that keeps `heard`, a list of `[event, ...arguments]`, and can wait for events in order. */
export function connect(url, options = {}) {
  const socket = io(url, { forceNew: true, reconnection: false, transports: ['websocket'], ...options });
  open.add(socket);
  const heard = [];
  const waiting = new Set();
  socket.onAny((...event) => {
    heard.push(event);
    waiting.forEach((look) => look());
  });
  let from = 0;
  return {
    socket,
    heard,
    names: () => heard.map(([name]) => name),
    emit: (...args) => socket.emit(...args),
    ask: (...args) => socket.timeout(PATIENCE).emitWithAck(...args),
    /** The first argument of the next event of that name not yet waited for. */
    next(name, timeout = PATIENCE) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`no ${name} within ${timeout} ms; heard ${JSON.stringify(heard).slice(0, 2000)}`));
        }, timeout);
        function look() {
          const at = heard.findIndex(([event], i) => i >= from && event === name);
          if (at < 0) return;
          from = at + 1;
          clearTimeout(timer);
          waiting.delete(look);
          resolve(heard[at][1]);
        }
        waiting.add(look);
        look();
      });
    },
    /** The same without its number. */
    async plain(name, timeout) {
      const { seq, ...body } = await this.next(name, timeout);
      return body;
    },
    connected: () =>
      socket.connected ? Promise.resolve() : new Promise((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('connect_error', reject);
      }),
    /** Cuts the transport without a word, as a dying network does. */
    kill() {
      const { engine } = socket.io;
      const { transport } = engine;
      if (transport.ws?.terminate) transport.ws.terminate();
      else if (transport.ws?._socket) transport.ws._socket.destroy();
      else engine.close();
    },
    /** Takes its leave. */
    disconnect: () => socket.disconnect(),
  };
}

/** Closes every client of the file. */
export function closeAll() {
  open.forEach((socket) => socket.disconnect());
  open.clear();
}

let rooms = 0;
/** A room id of its own. */
export const freshRoom = () => `room-${process.pid}-${(rooms += 1)}`;

export { sleep, until };
