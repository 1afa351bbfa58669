// Mobility (RFC 8016) with Debian's coturn client: -M makes it go on from another port, by its ticket, before it sends anything.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { start } from '../e2e/support/callgate.mjs';

const execute = promisify(execFile);
let daemon;

before(async () => {
  const limits = { allocations_per_user: 0, allocations_per_ip: 0 };
  daemon = await start({ config: { turn: { limits, mobility: true } } });
});

after(async () => {
  assert.equal(await daemon?.stop(), 0);
});

/** Runs the client from allocation to allocation; it exits with 0 even if everything was lost. */
async function uclient(flags, port = daemon.turnPort, secret = daemon.secret) {
  const args = ['-v', '-M', '-y', '-s', ...flags, '-n', 100, '-m', 2, '-l', 400, '-z', 5, '-p', port];
  args.push('-W', secret, '-u', 'uclient', '127.0.0.1');
  const { stdout, stderr, code = 0 } = await execute('timeout', ['60', 'turnutils_uclient', ...args.map(String)]).catch((error) => error);
  return { code, stdout, said: `turnutils_uclient ${args.join(' ')}: ended with ${code}\n${stdout}${stderr}` };
}

describe('turnutils_uclient -M moves and loses nothing', () => {
  for (const [name, flags] of [
    ['over UDP', []],
    ['over TCP', ['-t']],
  ]) {
    test(name, async () => {
      const { code, stdout, said } = await uclient(flags);
      assert.equal(code, 0, said);
      const tickets = new Set([...stdout.matchAll(/smid=(\S+)/g)].map(([, ticket]) => ticket));
      assert.ok(tickets.size >= 4, `a ticket with each answer:\n${said}`);
      assert.match(stdout, /Total lost packets 0 /, said);
      const metrics = await daemon.metrics();
      assert.equal(metrics.sum('callgate_drops_total'), 0, said);
    });
  }
});

test('where it is off, who asks for it gets no allocation', async () => {
  const plain = await start();
  try {
    const { code, said } = await uclient([], plain.turnPort, plain.secret);
    assert.notEqual(code, 0, said);
    assert.match(said, /405/);
    assert.equal((await plain.metrics()).sum('callgate_allocations_total'), 0);
  } finally {
    assert.equal(await plain.stop(), 0);
  }
});
