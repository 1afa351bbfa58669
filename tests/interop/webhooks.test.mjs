// A receiver as README tells people to write one: its example is taken from there and run.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join as path, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { start, until } from '../e2e/support/callgate.mjs';
import { join } from '../e2e/support/member.mjs';

const secret = 'a secret of the test';
const got = [];
let daemon;
let folder;
let isOurs;
let receiver;

before(async () => {
  folder = await mkdtemp(path(tmpdir(), 'callgate-webhooks-'));
  const readme = await readFile(resolve(import.meta.dirname, '../../README.md'), 'utf8');
  const [, example] = /```js\n(import \{ createHmac[^]*?)```/.exec(readme);
  assert.ok(example.trim().split('\n').length <= 12, 'it is a short one');
  await writeFile(path(folder, 'example.mjs'), example);
  ({ isOurs } = await import(path(folder, 'example.mjs')));
  receiver = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    got.push({ headers: request.headers, body: Buffer.concat(chunks) });
    response.writeHead(204).end();
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const urls = [`http://127.0.0.1:${receiver.address().port}/hooks`];
  daemon = await start({ config: { webhooks: { urls, secret, events: ['peer.joined', 'peer.left'] } } });
});
after(async () => {
  assert.equal(await daemon?.stop(), 0);
  receiver.closeAllConnections();
  receiver.close();
  await rm(folder, { recursive: true, force: true });
});

test('the example in README knows our messages from others', async () => {
  const member = await join(daemon.url, 'tea', { name: 'Ada \u{1f375}' });
  member.close();
  await until('two messages', () => got.length >= 2);
  const types = got.map(({ body }) => JSON.parse(body).type);
  assert.deepEqual(types.slice(0, 2), ['peer.joined', 'peer.left']);
  for (const { headers, body } of got) {
    const header = headers['callgate-signature'];
    assert.equal(headers['callgate-event'], JSON.parse(body).type);
    assert.ok(isOurs(header, body, secret));
    assert.ok(!isOurs(header, body, `${secret}!`));
    assert.ok(!isOurs(header, Buffer.concat([body, Buffer.from(' ')]), secret));
    const now = /t=(\d+)/.exec(header)[1];
    assert.ok(!isOurs(header.replace(now, `${now - 301}`), body, secret));
    assert.ok(!isOurs(header.replace(now, `${now - 1}`), body, secret));
    for (const other of [undefined, '', 't=1', `t=${now},v1=`, `t=${now},v1=${'0'.repeat(64)}`]) assert.ok(!isOurs(other, body, secret));
  }
});
