// PyPI's aioice as a client of our relay; the cases are in aioice_client.py.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { credentials, start, until } from '../e2e/support/callgate.mjs';

const execute = promisify(execFile);
const python = resolve(import.meta.dirname, '../../target/venv/bin/python');
let daemon;

before(async () => {
  daemon = await start({ tls: true });
});
after(async () => assert.equal(await daemon?.stop(), 0));

async function client(name, server = '127.0.0.1', transport = 'udp') {
  const { username, credential } = credentials(daemon.secret, { id: name });
  const script = join(import.meta.dirname, 'aioice_client.py');
  const port = transport === 'tls' ? daemon.tlsPort : daemon.turnPort;
  const args = [name, server, `${port}`, username, credential, transport, daemon.caFile];
  await execute(python, [script, ...args]).catch((error) => {
    throw new Error(`${name}: ${error.stderr}`);
  });
}

describe('aioice', () => {
  test('gets back what it sends to a peer', () => client('echo'));
  test('reaches an IPv4 peer over IPv6', () => client('echo', '::1'));
  test('talks from relay to relay', () => client('both_relayed'));
  test('talks from relay to relay over IPv6', () => client('both_relayed', '::1'));
  test('keeps a short allocation alive', () => client('refresh'));
  test('connects two agents by ICE through the relay only', () => client('ice'));
  test('is refused with a wrong password', () => client('wrong_password'));
  for (const transport of ['tcp', 'tls']) {
    describe(`over ${transport}`, () => {
      test('gets back what it sends to a peer', () => client('echo', '127.0.0.1', transport));
      test('reaches an IPv4 peer over IPv6', () => client('echo', '::1', transport));
      test('talks from relay to relay', () => client('both_relayed', '127.0.0.1', transport));
      test('keeps a short allocation alive', () => client('refresh', '127.0.0.1', transport));
      test('connects two agents by ICE through the relay only', () => client('ice', '127.0.0.1', transport));
      test('is refused with a wrong password', () => client('wrong_password', '127.0.0.1', transport));
    });
  }
  test('leaves no allocation behind', async () => {
    await until('no allocation', async () => (await daemon.metrics()).sum('callgate_allocations') === 0);
    assert.ok((await daemon.metrics()).sum('callgate_allocations_total') >= 9 + 14);
  });
});
