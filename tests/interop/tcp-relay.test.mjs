// TCP allocations (RFC 6062) with Debian's coturn client: two of its allocations connect to each other through ours.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { start } from '../e2e/support/callgate.mjs';

const execute = promisify(execFile);
let daemon;

before(async () => {
  const limits = { allocations_per_user: 0, allocations_per_ip: 0 };
  daemon = await start({ tls: true, config: { turn: { limits, tcp_relays: true } } });
});

after(async () => {
  assert.equal(await daemon?.stop(), 0);
});

/** Runs the client; it exits with 0 even if everything was lost. */
async function uclient(flags, { port = daemon.turnPort, messages = 100, clients = 2, server = '127.0.0.1' } = {}) {
  const args = ['-T', ...flags, '-n', messages, '-m', clients, '-l', 400, '-z', 5];
  args.push('-p', port, '-W', daemon.secret, '-u', 'uclient', server);
  const { stdout, stderr, code = 0 } = await execute('timeout', ['60', 'turnutils_uclient', ...args.map(String)]).catch((error) => error);
  const said = `turnutils_uclient ${args.join(' ')}: ended with ${code}\n${stdout}${stderr}`;
  assert.equal(code, 0, said);
  const [, sent] = /: tot_send_msgs=(\d+), tot_recv_msgs=\d+\n/.exec(stdout) ?? assert.fail(said);
  assert.ok(Number(sent) >= messages * clients, said);
  return { said, stdout };
}

describe('turnutils_uclient -T loses nothing', () => {
  test('with two allocations', async () => {
    const { said, stdout } = await uclient([]);
    assert.match(stdout, /Total lost packets 0 /, said);
  });
  // (With more allocations it takes two messages that come together for one, and waits for the other for half a minute.)
  test('with two more, and more of it', async () => {
    const { said, stdout } = await uclient([], { messages: 1000 });
    assert.match(stdout, /Total lost packets 0 /, said);
  });
  test('over IPv6', async () => {
    const { said, stdout } = await uclient(['-x'], { server: '::1' });
    assert.match(stdout, /Total lost packets 0 /, said);
  });
  test('on the port of the page', async () => {
    const { said, stdout } = await uclient([], { port: daemon.httpPort });
    assert.match(stdout, /Total lost packets 0 /, said);
  });
});

// The client takes what one read gives it for one message, so over a stream that was joined it may count too few: our counters
// know what went through.
test('turnutils_uclient -T over TLS', async () => {
  const before = await daemon.metrics();
  await uclient(['-S'], { port: daemon.tlsPort });
  const now = await daemon.metrics();
  const grown = (name, labels) => now.sum(name, labels) - before.sum(name, labels);
  assert.ok(grown('callgate_relay_bytes_total', { direction: 'to_client' }) >= 200 * 400);
  assert.equal(grown('callgate_drops_total'), 0);
});

test('nothing of it is left when the clients are gone', async () => {
  const end = Date.now() + 60_000;
  for (;;) {
    const metrics = await daemon.metrics();
    const open = metrics.sum('callgate_turn_connections') + metrics.sum('callgate_allocations');
    if (open === 0) return;
    assert.ok(Date.now() < end, `${open} are left`);
    await sleep(50);
  }
});

test('a daemon that is not told to have TCP allocations has none', async () => {
  const plain = await start();
  try {
    const args = ['10', 'turnutils_uclient', '-T', '-n', '1', '-m', '2', '-p', plain.turnPort, '-W', plain.secret, '-u', 'x', '127.0.0.1'];
    await assert.rejects(execute('timeout', args.map(String)));
    assert.equal((await plain.metrics()).sum('callgate_allocations_total'), 0);
  } finally {
    assert.equal(await plain.stop(), 0);
  }
});
