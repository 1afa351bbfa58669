// A secret that is taken out of the configuration: what it signed ends at once, on every leg, and nobody else notices.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { credentials, start, until } from '../e2e/support/callgate.mjs';
import { open } from './turn.mjs';

const [stays, goes] = ['the secret that stays', 'the secret that goes'];

test('a removed secret ends its allocations over UDP, TCP and TLS at once', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'callgate-secrets-'));
  const daemon = await start({ folder, tls: true, config: { turn: { secrets: [stays, goes] } } });
  const clients = [];
  t.after(async () => {
    clients.forEach((client) => client.close());
    assert.equal(await daemon.stop(), 0);
    await rm(folder, { recursive: true });
  });
  const client = async (secret, transport, from) => {
    const port = { udp: daemon.turnPort, tcp: daemon.turnPort, tls: daemon.tlsPort }[transport];
    const made = await open({ port, transport, from, ...credentials(secret), tls: { ca: daemon.ca, servername: 'localhost' } });
    clients.push(made);
    return made;
  };
  const pairs = [];
  for (const transport of ['udp', 'tcp', 'tls']) {
    const pair = [await client(stays, transport, '127.0.3.1'), await client(goes, transport, '127.0.3.2')];
    for (const each of pair) assert.equal((await each.allocate()).code, 0);
    pairs.push([transport, ...pair]);
  }
  const allocations = async () => (await daemon.metrics()).sum('callgate_allocations');
  assert.equal(await allocations(), 6);

  const file = join(folder, 'callgate.toml');
  const text = await readFile(file, 'utf8');
  assert.ok(text.includes(goes));
  await writeFile(file, text.replaceAll(goes, 'yet another secret'));
  daemon.kill('SIGHUP');
  await until('three allocations gone', async () => (await allocations()) === 3, { timeout: 15_000, every: 10 });

  for (const [transport, one] of pairs) {
    assert.equal(await one.permit({ address: '127.0.3.9', port: 9 }), 0, `over ${transport} the other one's goes on`);
    const again = await client(goes, transport, '127.0.3.2');
    assert.equal((await again.allocate()).code, 401, `over ${transport} it opens nothing any more`);
  }
});
