// Debian's coturn tools as clients of our relay.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { request } from 'node:https';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort, start, until } from '../e2e/support/callgate.mjs';

const execute = promisify(execFile);
let daemon, echo, echoPort;

before(async () => {
  // The client leaves its allocations behind when it gives up, and comes from one address, so one worker has them all.
  const limits = { allocations_per_user: 0, allocations_per_ip: 0 };
  daemon = await start({ tls: true, config: { turn: { limits, relay_ports: '10000-29999' } } });
  echoPort = await freePort('udp');
  echo = spawn('turnutils_peer', ['-L', '127.0.0.1', '-L', '::1', '-p', `${echoPort}`], { stdio: 'ignore' });
  for (const address of ['127.0.0.1', '::1']) {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4').on('error', () => {});
    let heard = false;
    socket.on('message', () => (heard = true));
    await until(`an echo from ${address}`, () => heard || void socket.send('are you there?', echoPort, address));
    socket.close();
  }
});
process.once('exit', () => echo?.kill());

after(async () => {
  echo?.kill();
  assert.equal(await daemon?.stop(), 0);
});

let users = 0;

/**
 * Runs the client and requires that all it sent came back: it exits with 0 even if everything was lost.
 *
 * It draws each channel number from RFC 5766's range, 0x4000 to 0x7FFF, and gives up when one is refused, as RFC 8656
 * has it for those from 0x5000 on. So a run with channels is repeated until the client draws well: one try takes some 20 ms, and
 * one in four does for each channel that it binds. A try that gives up leaves a reserved port behind for 30 s; where all 256
 * places for these are taken (508), the next one waits.
 */
async function uclient(flags, { server = '127.0.0.1', port = daemon.turnPort, messages = 100, clients = 1, every = 5, accept } = {}) {
  // A user for each try: what the last one reserved is kept for a while.
  const args = () =>
    [
      ...flags.split(' ').filter(Boolean),
      ...['-n', messages, '-m', clients, '-z', every, '-l', 400, '-e', server, '-r', echoPort],
      ...['-p', port, '-W', daemon.secret, '-u', `uclient${++users}`, server],
    ].map(String);
  const end = Date.now() + 400_000;
  for (let tries = 1; ; tries++) {
    const flagged = args();
    // Where nothing answers it waits for ever.
    const { stdout, stderr, code = 0 } = await execute('timeout', ['60', 'turnutils_uclient', ...flagged]).catch((error) => error);
    const said = `turnutils_uclient ${flagged.join(' ')}: ended with ${code} at try ${tries}\n${stdout}${stderr}`;
    if (code === 255 && stdout.includes('channel bind: error 400') && Date.now() < end) continue;
    if (code === 255 && stdout.includes('error 508') && Date.now() < end) {
      await sleep(3_000);
      continue;
    }
    assert.equal(code, 0, said);
    const [, sent, received] = /: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n/.exec(stdout) ?? assert.fail(said);
    assert.ok(Number(sent) >= messages * clients, said);
    if (accept && (await accept(Number(sent), Number(received)))) return;
    assert.match(stdout, /Total lost packets 0 /, said);
    assert.equal(sent, received, said);
    return;
  }
}

// Without -c it asks for an even port, reserves the next one, and takes it with a second allocation (RTP and RTCP).
describe('turnutils_uclient loses nothing', { concurrency: 3 }, () => {
  test('with a channel', () => uclient('-c'));
  test('with channels on an even port and its reserved neighbour', () => uclient(''));
  test('with send indications', () => uclient('-s', { clients: 4 }));
  test('from client to client, by channels', () => uclient('-y -c', { clients: 1 }));
  test('from client to client, by indications', () => uclient('-y -s', { clients: 4 }));
  test('over IPv6, with a channel', () => uclient('-x -c', { server: '::1' }));
  test('over IPv6, with send indications', () => uclient('-x -s', { server: '::1', clients: 4 }));
  test('over IPv6, from client to client', () => uclient('-x -y -s', { server: '::1', clients: 2 }));
  test('with DONT-FRAGMENT', () => uclient('-g -s -c'));
  test('with extra permissions', () => uclient('-G -s -c'));
  test('with twenty clients', () => uclient('-s -c', { clients: 20, messages: 50 }));
});

describe('turnutils_uclient loses nothing over TCP', { concurrency: 3 }, () => {
  test('with a channel', () => uclient('-t -c'));
  test('with channels on an even port and its reserved neighbour', () => uclient('-t'));
  test('with send indications', () => uclient('-t -s', { clients: 4 }));
  test('from client to client, by channels', () => uclient('-t -y -c'));
  test('from client to client, by indications', () => uclient('-t -y -s', { clients: 4 }));
  test('over IPv6, with a channel', () => uclient('-t -x -c', { server: '::1' }));
  test('over IPv6, from client to client', () => uclient('-t -x -y -s', { server: '::1', clients: 2 }));
  test('with twenty clients', () => uclient('-t -s -c', { clients: 20, messages: 50 }));
  test('on the port of the page', () => uclient('-t -s -c', { port: daemon.httpPort, clients: 4 }));
});

/**
 * Over TLS. The client takes what one read gives it for one message, so of two that came in one record it counts one: the more, the
 * busier the machine is. What it misses therefore has to be on our counters: everything was relayed, nothing dropped.
 */
async function secure(flags, options) {
  const before = await daemon.metrics();
  const accept = async (sent, received) => {
    const now = await daemon.metrics();
    const grown = (name, labels) => now.sum(name, labels) - before.sum(name, labels);
    const relayed = grown('callgate_relay_packets_total', { direction: 'to_client' });
    return received >= 0.2 * sent && relayed >= sent && grown('callgate_drops_total') === 0;
  };
  await uclient(`-t -S ${flags}`, { port: daemon.tlsPort, every: 40, messages: 50, accept, ...options });
}

describe('turnutils_uclient loses nothing over TLS', () => {
  test('with a channel', () => secure('-c'));
  test('with send indications', () => secure('-s', { clients: 4 }));
  test('from client to client, by channels', () => secure('-y -c'));
  test('over IPv6, from client to client', () => secure('-x -y -s', { server: '::1', clients: 2 }));

  test('while the same port serves the page', async () => {
    let running = true;
    const turn = secure('-s -c', { clients: 4 }).finally(() => (running = false));
    turn.catch(() => {}); // told below
    let pages = 0;
    for (; running; pages++) {
      const text = await page(`https://localhost:${daemon.tlsPort}/`);
      assert.match(text, /<title>/);
    }
    await turn;
    assert.ok(pages >= 5, `${pages} pages only`);
  });
});

/** A page over a new connection; only our own authority is trusted. */
const page = (url) =>
  new Promise((done, failed) => {
    const asked = request(url, { ca: daemon.ca, agent: false, timeout: 30_000 }, async (answer) => {
      let text = '';
      for await (const chunk of answer.setEncoding('utf8')) text += chunk;
      done(text);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer'))).on('error', failed).end();
  });

test('a wrong secret gets no allocation', async () => {
  const before = (await daemon.metrics()).sum('callgate_allocations_total');
  const args = ['-n', '1', '-y', '-c', '-p', `${daemon.turnPort}`, '-W', 'not the secret', '-u', 'x', '127.0.0.1'];
  // It tries again and again; after some wrong guesses nobody answers.
  await assert.rejects(execute('timeout', ['5', 'turnutils_uclient', ...args]));
  const now = await daemon.metrics();
  assert.equal(now.sum('callgate_allocations_total'), before);
  assert.ok(now.sum('callgate_auth_failures_total') >= 1);
});

describe('turnutils_stunclient learns its address', () => {
  for (const server of ['127.0.0.1', '::1']) {
    test(`from ${server}`, async () => {
      const { stdout } = await execute('timeout', ['60', 'turnutils_stunclient', '-p', `${daemon.turnPort}`, server]);
      assert.match(stdout, new RegExp(`reflexive addr: \\[?${server}\\]?:\\d+`), stdout);
    });
  }
});
