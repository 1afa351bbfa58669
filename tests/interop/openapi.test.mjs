// PyPI's schemathesis against /openapi.json: requests by the thousand, right and wrong ones, and every answer held against the document.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { start } from '../e2e/support/callgate.mjs';

const execute = promisify(execFile);
const schemathesis = resolve(import.meta.dirname, '../../target/venv/bin/schemathesis');
const admin = 'a-token-of-the-operator';
const key = 'a-key-of-a-back-end';
/** For so long it runs; where that was too short for 300 requests, once more for longer. */
const seconds = [18, 90, 240];
/** The same requests each time, as far as it comes; SEED=… hunts with others. */
const seed = process.env.SEED ?? '20261122';
let daemon;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'callgate-openapi-'));
  await writeFile(join(folder, 'schemathesis.toml'), config.join('\n'));
  const auth = { key: 'a key of thirty-two characters..', api_keys: [key] };
  daemon = await start({ config: { admin: { token: admin }, auth } });
});
after(async () => {
  assert.equal(await daemon?.stop(), 0);
  await rm(folder, { recursive: true, force: true });
});

// A user's name is measured in bytes, which a JSON schema cannot say: these may answer 400 to one that it allows.
const named = ['POST /api/rooms', 'POST /api/rooms/{roomId}/kick', 'POST /api/rooms/{roomId}/invite', 'POST /api/tokens'];
const accepted = JSON.stringify(['2xx', '3xx', '400', '401', '403', '404', '409', '429', '5xx']);
const config = named.map((name) => `[[operations]]\ninclude-name = "${name}"\nchecks.positive_data_acceptance.expected-statuses = ${accepted}\n`);

/** Runs all checks for a while; what it found is in the error. */
async function run(...more) {
  for (const [n, time] of seconds.entries()) {
    const { cases, stdout } = await once(time, ...more);
    if (cases > 300) return;
    // All that a busy machine could do in four minutes.
    if (n === seconds.length - 1) assert.ok(cases > 100, `only ${cases} requests:\n${stdout.slice(-2000)}`);
  }
}

async function once(time, ...more) {
  const args = ['--config-file', join(folder, 'schemathesis.toml'), 'run', `${daemon.url}/openapi.json`, '--checks', 'all', '--max-time', `${time}`, '--seed', seed];
  args.push('--max-response-time', '20', '--request-timeout', '30', '--warnings', 'off', '--no-color', ...more);
  const { stdout } = await execute(schemathesis, args, { cwd: folder, timeout: 600_000, maxBuffer: 1 << 24 }).catch((error) => {
    const text = `${error.stdout}`;
    throw new Error(`schemathesis ended with ${error.code}:\n${text.slice(text.indexOf('FAILURES')).slice(0, 6000) || error.message}`);
  });
  const [, cases = 0] = /(\d+) generated/.exec(stdout) ?? [];
  return { cases: Number(cases), stdout };
}

describe('schemathesis finds nothing', () => {
  test('as anybody', () => run());
  test('as the operator', () => run('-H', `Authorization: Bearer ${admin}`));
  test('as a back end', () => run('-H', `Authorization: Bearer ${key}`));
  test('and the daemon is as well as before', async () => {
    const health = await (await fetch(`${daemon.url}/health`)).json();
    assert.deepEqual([health.status, health.store, health.relay], ['ok', { status: 'ok' }, { status: 'ok' }]);
    assert.ok(!/panic/i.test(daemon.log()), daemon.log().slice(-2000));
  });
});
