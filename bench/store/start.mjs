// From the start of the process to the first 200 of /ready, with so many stored rooms, three people and ten messages in
// each; the same without any; five times each, and the file in the page cache.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const rooms = Number(process.argv[2] ?? 100_000);
const folder = mkdtempSync(join(tmpdir(), 'callgate-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const config = join(folder, 'callgate.toml');
writeFileSync(config, `
public.addresses = ["127.0.0.1"]
http.listen = ["127.0.0.1:3999"]
turn.listen = ["127.0.0.1:3998"]
turn.relay_ports = "61000-65535"
log.filter = "error"
`);

/** Starts it, waits until it is ready, reads its memory, and stops it. */
async function once(state) {
  const begun = performance.now();
  const child = spawn(process.env.CALLGATE, ['--config', config], { env: { STATE_DIRECTORY: state }, stdio: ['ignore', 'ignore', 'inherit'] });
  for (;;) {
    const answer = await fetch('http://127.0.0.1:3999/ready').catch(() => undefined);
    if (answer?.ok) break;
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
    await sleep(2);
  }
  const ms = performance.now() - begun;
  const kb = Number(/VmRSS:\s+(\d+)/.exec(execFileSync('cat', [`/proc/${child.pid}/status`], { encoding: 'utf8' }))[1]);
  child.kill('SIGTERM');
  await new Promise((done) => child.once('exit', done));
  return { ms, kb };
}

async function several(what, state) {
  const runs = [];
  for (let n = 0; n < 5; n += 1) runs.push(await once(state));
  const all = runs.map(({ ms }) => Math.round(ms)).sort((a, b) => a - b);
  console.log(`${what}: ready after ${all[2]} ms (${all[0]} to ${all[4]}), ${Math.round(runs[4].kb / 1024)} MiB resident`);
}

const [empty, full] = ['empty', 'full'].map((name) => join(folder, name));
await once(full); // makes the tables
execFileSync('sqlite3', [join(full, 'callgate.db')], {
  input: `
    BEGIN;
    CREATE TEMP TABLE n AS WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ${rooms}) SELECT n FROM n;
    CREATE TEMP TABLE r AS SELECT n, lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8' ||
      substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))) AS id FROM n;
    INSERT INTO rooms SELECT id, 'channel', 'The room of number ' || n, 'Where ' || n || ' meet on Thursdays', 'video', 'user-' || (n % 20000),
      n % 3 = 0, n % 3 <> 0, 0, 0, 0, NULL, 500, 1700000000000 + n, n % 20000 FROM r ORDER BY id;
    INSERT INTO people SELECT id, 'user-' || ((n * k) % 20000), CASE k WHEN 1 THEN 'moderator' ELSE 'member' END, 'Person ' || n, 1700000000000 + n
      FROM r, (SELECT 1 AS k UNION SELECT 7 UNION SELECT 11) WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO messages (room, id, from_peer, user, name, text, at, sender, client_id)
      SELECT id, substr(hex(randomblob(11)), 1, 22), 'AAAAAAAAAAAAAAAAAAAAAA', 'user-' || n, 'Person ' || n, 'What is said in a line or two of chat, ' || k,
      unixepoch() * 1000 + k, 'user-' || n, 'c' || k FROM (SELECT n AS k FROM n LIMIT 10), r;
    COMMIT;`,
});
console.log(`${rooms} rooms: a file of ${Math.round(statSync(join(full, 'callgate.db')).size / (1 << 20))} MiB`);
await several('without rooms', empty);
await several(`with ${rooms} rooms`, full);
