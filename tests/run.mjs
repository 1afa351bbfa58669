// Runs every stage of the tests, counts them all, and ends with the line "N passed, N failed".
//
//   node tests/run.mjs              everything
//   node tests/run.mjs lab interop  only these stages
//
// A stage that fails does not keep later ones from running, unless they need what it builds. In CI, whose machine has other
// work too, a file of node tests or a Rust test that fails is run once more; what passes only then is named in the table.

import { spawn, spawnSync } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
process.chdir(root);
const has = (...command) => spawnSync(command[0], command.slice(1), { stdio: 'ignore' }).status === 0;
const minutes = 60_000;

/** One file of node tests after another: they share ports, namespaces and two cores. */
const oneByOne = ['node', '--test', '--test-concurrency=1', '--test-reporter=tap'];

/** Every file of node tests in a folder. */
const node = (folder) => {
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.test.mjs')) : [];
  const paths = files.sort().map((name) => `./${join(folder, name)}`);
  return [...oneByOne, ...(paths.length ? paths : [`${folder}/*.test.mjs`])];
};

const nextest = has('cargo', 'nextest', '--version');
const testing = nextest ? ['cargo', 'nextest', 'run', '--locked'] : ['cargo', 'test', '--locked', '--no-fail-fast'];
const tested = nextest ? 'nextest' : 'libtest';
const relayTests = nextest ? "cargo nextest run --offline -E 'test(relay)'" : 'cargo test --offline relay';

// `counts` names the parser of the stage's summary; without one the stage is a single check. `optional` stages are left
// out, with a word, when the tool they need is not installed.
const stages = [
  { name: 'fmt', run: ['cargo', 'fmt', '--check'] },
  { name: 'clippy', run: ['cargo', 'clippy', '--locked', '--all-targets', '--', '-D', 'warnings'], limit: 30 },
  { name: 'rust', run: nextest ? [...testing, '--profile', 'ci'] : [...testing, '--all-targets'], counts: tested, limit: 45 },
  // Loopback takes 64 KiB at once; networks take 1500.
  { name: 'mtu', run: ['unshare', '--net', 'sh', '-c', `ip link set lo mtu 1500 up && ${relayTests}`], counts: tested },
  { name: 'doc', run: ['cargo', 'test', '--locked', '--doc'], counts: 'libtest', mayBeEmpty: true },
  { name: 'deny', run: ['cargo', 'deny', '--offline', 'check', 'licenses', 'bans', 'sources'], optional: ['cargo', 'deny', '--version'] },
  { name: 'build', run: ['cargo', 'build', '--release', '--locked'], limit: 40 },
  { name: 'signaling', run: node('tests/e2e/signaling'), counts: 'node', needs: 'build', limit: 30 },
  { name: 'store', run: node('tests/e2e/store'), counts: 'node', needs: 'build' },
  { name: 'page', run: node('tests/e2e/page'), counts: 'node', needs: 'build', limit: 40 },
  { name: 'interop', run: node('tests/interop'), counts: 'node', needs: 'build', limit: 45 },
  { name: 'lab', run: node('tests/e2e/lab'), counts: 'node', needs: 'build', limit: 40 },
  { name: 'package', run: ['packaging/deb/test.sh'], counts: 'checks', needs: 'build', limit: 30 },
  { name: 'fuzz', run: ['sh', 'tests/fuzz.sh', '20'], counts: 'checks', optional: ['cargo', 'fuzz', '--version'], limit: 40 },
];

const parsers = {
  nextest: (text) => {
    const [, summary = ''] = /Summary \[.*?\] (.*)/.exec(text) ?? [];
    const number = (word) => Number(new RegExp(`(\\d+) ${word}`).exec(summary)?.[1] ?? 0);
    return { passed: number('passed'), failed: number('failed') + number('timed out') + number('exec failed') };
  },
  libtest: (text) => {
    const results = [...text.matchAll(/^test result: .*? (\d+) passed; (\d+) failed;/gm)];
    const total = (index) => results.reduce((sum, match) => sum + Number(match[index]), 0);
    return { passed: total(1), failed: total(2) };
  },
  checks: (text) => ({ passed: (text.match(/^ok /gm) ?? []).length, failed: (text.match(/^not ok /gm) ?? []).length }),
  // A test that was skipped or cancelled has not passed.
  node: (text) => {
    const number = (word) => Number(new RegExp(`^# ${word} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
    return { passed: number('pass'), failed: number('fail') + number('cancelled') + number('skipped') + number('todo') };
  },
};

/** The tests that failed, of what node's reporter says: their names, and the files they are in. */
function failures(text) {
  const found = [...text.matchAll(/^ *not ok \d+ - (.*)\n(?: +.*\n)*? +location: '(.*?)(?::\d+:\d+)?'$/gm)];
  return { names: found.map(([, name]) => name), files: [...new Set(found.map(([, , file]) => file))] };
}

let running;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    if (running) process.kill(-running.pid, 'SIGKILL');
    process.exit(130);
  });
}

/** Runs a command with its output shown, kept under target/test-logs/ and returned. */
function run({ name, run: [command, ...args], limit = 20 }) {
  mkdirSync('target/test-logs', { recursive: true });
  const file = createWriteStream(`target/test-logs/${name}.log`);
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // a group of its own, so that the time limit ends all of it
    env: { CALLGATE: join(root, 'target/release/callgate'), CARGO_TERM_COLOR: 'never', ...process.env },
  });
  running = child;
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
      file.write(chunk);
      process.stdout.write(chunk);
    });
  }
  return new Promise((done) => {
    const end = (how) => {
      running = undefined;
      clearTimeout(timer);
      file.end();
      done({ text, how });
    };
    const timer = setTimeout(() => {
      process.kill(-child.pid, 'SIGKILL');
      end(`took longer than ${limit} minutes`);
    }, limit * minutes);
    child.once('error', (error) => end(error.message));
    child.once('exit', (code, signal) => {
      const how = code === 0 ? 'ok' : `ended with ${signal ?? code}`;
      // Its last lines, with the counts in them, may still be on their way; what it left running may hold the pipe for ever.
      const late = setTimeout(end, 10_000, how);
      child.once('close', () => {
        clearTimeout(late);
        end(how);
      });
    });
  });
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !stages.some((stage) => stage.name === name));
if (unknown.length) {
  console.error(`no such stage: ${unknown.join(', ')}; there are: ${stages.map((stage) => stage.name).join(' ')}`);
  process.exit(2);
}

const table = [];
for (const stage of stages.filter(({ name }) => !wanted.length || wanted.includes(name))) {
  const row = { name: stage.name, passed: 0, failed: 0, seconds: 0, note: '' };
  table.push(row);
  const needed = table.find(({ name }) => name === stage.needs);
  if (needed?.failed) {
    Object.assign(row, { failed: 1, note: `not run: ${stage.needs} failed` });
    continue;
  }
  if (stage.optional && !has(...stage.optional)) {
    row.note = `not run: ${stage.optional.slice(0, 2).join('-')} is not installed`;
    continue;
  }
  console.log(`\n=== ${stage.name}: ${stage.run.join(' ')}`);
  const begun = Date.now();
  let { text, how } = await run(stage);
  const counts = stage.counts ? parsers[stage.counts](text) : { passed: how === 'ok' ? 1 : 0, failed: 0 };
  Object.assign(row, counts);
  if (stage.counts === 'node' && row.failed && process.env.CI) {
    const { names, files } = failures(text);
    console.log(`\n=== ${stage.name}, once more: ${files.join(' ')}`);
    if (files.length && (await run({ ...stage, name: `${stage.name}-again`, run: [...oneByOne, ...files] })).how === 'ok') {
      Object.assign(row, { passed: row.passed + row.failed, failed: 0, note: `only when run again: ${names.join('; ')}` });
      how = 'ok';
    }
  }
  if (stage.counts === 'nextest' && how === 'ok') row.note = (text.match(/^ *FLAKY .*$/gm) ?? []).map((line) => line.trim()).join('; ');
  row.seconds = Math.round((Date.now() - begun) / 1000);
  if (how !== 'ok') {
    row.note = how;
    row.failed ||= 1;
  } else if (row.passed + row.failed === 0 && !stage.mayBeEmpty) {
    Object.assign(row, { failed: 1, note: 'ran no test' });
  }
}

console.log('\n=== all stages');
for (const { name, passed, failed, seconds, note } of table) {
  console.log(`${name.padEnd(10)} ${String(passed).padStart(5)} ok ${String(failed).padStart(5)} bad ${String(seconds).padStart(5)} s  ${note}`);
}
const total = (key) => table.reduce((sum, row) => sum + row[key], 0);
console.log(`\n${total('passed')} passed, ${total('failed')} failed`);
process.exit(total('failed') ? 1 : 0);
