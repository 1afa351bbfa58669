// Debian's coturn tools as clients of our relay.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort, start, until } from '../e2e/support/callgate.mjs';

const execute = promisify(execFile);
let daemon, echo, echoPort;

before(async () => {
  daemon = await start();
  echoPort = await freePort('udp');
  echo = spawn('turnutils_peer', ['-L', '127.0.0.1', '-L', '::1', '-p', `${echoPort}`], { stdio: 'ignore' });
});

after(async () => {
  echo?.kill();
  assert.equal(await daemon?.stop(), 0);
});

/** Runs the client and requires that all it sent came back: it exits with 0 even if everything was lost. */
async function uclient(flags, { server = '127.0.0.1', messages = 100, clients = 2 } = {}) {
  const args = [
    ...flags.split(' ').filter(Boolean),
    ...['-n', messages, '-m', clients, '-z', 5, '-l', 400, '-e', server, '-r', echoPort],
    ...['-p', daemon.turnPort, '-W', daemon.secret, '-u', 'uclient', server],
  ];
  // Where nothing answers it waits for ever.
  const { stdout } = await execute('timeout', ['60', 'turnutils_uclient', ...args.map(String)]).catch((error) => {
    throw new Error(`turnutils_uclient ${args.join(' ')}: ended with ${error.code}\n${error.stdout}${error.stderr}`);
  });
  const [, sent, received] = /: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n/.exec(stdout) ?? assert.fail(stdout);
  assert.match(stdout, /Total lost packets 0 /, stdout);
  assert.ok(Number(sent) >= messages * clients && sent === received, `sent ${sent}, received ${received}`);
}

describe('turnutils_uclient loses nothing', { concurrency: 3 }, () => {
  test('with channels', () => uclient(''));
  test('with send indications', () => uclient('-s'));
  test('without RTCP twins', () => uclient('-c'));
  test('from client to client, by channels', () => uclient('-y'));
  test('from client to client, by indications', () => uclient('-y -s -c'));
  test('over IPv6', () => uclient('-x', { server: '::1' }));
  test('over IPv6, from client to client, by indications', () => uclient('-x -y -s', { server: '::1' }));
  test('with DONT-FRAGMENT', () => uclient('-g'));
  test('with both families in one allocation', () => uclient('-Z -y'));
  test('with extra permissions and channels', () => uclient('-G'));
  test('with twenty clients', () => uclient('-c', { clients: 20, messages: 50 }));
});

test('a wrong secret gets no allocation', async () => {
  const before = (await daemon.metrics()).sum('callgate_allocations_total');
  const args = ['-n', '1', '-y', '-c', '-p', `${daemon.turnPort}`, '-W', 'not the secret', '-u', 'x', '127.0.0.1'];
  await assert.rejects(execute('timeout', ['10', 'turnutils_uclient', ...args]));
  const now = await daemon.metrics();
  assert.equal(now.sum('callgate_allocations_total'), before);
  assert.ok(now.sum('callgate_auth_failures_total') >= 1);
});

describe('turnutils_stunclient learns its address', () => {
  for (const server of ['127.0.0.1', '::1']) {
    test(`from ${server}`, async () => {
      const { stdout } = await execute('timeout', ['10', 'turnutils_stunclient', '-p', `${daemon.turnPort}`, server]);
      assert.match(stdout, new RegExp(`reflexive addr: \\[?${server}\\]?:\\d+`), stdout);
    });
  }
});

test('no allocation is left when all clients are gone', async () => {
  await until('no allocation', async () => (await daemon.metrics()).sum('callgate_allocations') === 0);
  assert.ok((await daemon.metrics()).sum('callgate_allocations_total') >= 40);
});
