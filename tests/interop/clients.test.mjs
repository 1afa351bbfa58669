// PyPI's python-socketio and npm's socket.io-client, straight and through the nginx of README.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort, start, until } from '../e2e/support/callgate.mjs';
import { makeCertificate } from '../e2e/support/certificate.mjs';
import { dialects, speak } from '../e2e/support/dialects.mjs';

const root = resolve(import.meta.dirname, '../..');
const python = join(root, 'target/venv/bin/python');
const token = 'a-token-of-the-operator';
let daemon;
let nginx;

before(async () => {
  const config = { public: { host: 'call.example.org' }, admin: { token }, limits: { joins_per_minute: 0 } };
  daemon = await start({ config });
  nginx = await proxy(daemon.httpPort);
});
after(async () => {
  await nginx?.stop();
  assert.equal(await daemon?.stop(), 0);
});

/** nginx with README's snippet, but for the names of its files and its ports. */
async function proxy(upstream) {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const [, snippet] = /\n```nginx\n(.*?)```/s.exec(readme);
  const folder = mkdtempSync(join(tmpdir(), 'callgate-nginx-'));
  const port = await freePort('tcp');
  const { ca, certificate, key } = makeCertificate(folder, ['call.example.org', 'localhost', '127.0.0.1']);
  const put = (text, what, into) => {
    assert.ok(text.includes(what), `README's snippet has ${what}`);
    return text.replaceAll(what, into);
  };
  let site = put(snippet, 'listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`);
  site = put(site, '/etc/ssl/call.example.org/fullchain.pem', certificate);
  site = put(site, '/etc/ssl/call.example.org/privkey.pem', key);
  site = put(site, 'http://127.0.0.1:3000', `http://127.0.0.1:${upstream}`);
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ');
  const file = join(folder, 'nginx.conf');
  writeFileSync(file, `user root; daemon off; pid ${folder}/pid; error_log ${folder}/error.log warn; events {}\nhttp { access_log off; ${paths}\n${site}\n}\n`);
  const child = spawn('nginx', ['-e', `${folder}/error.log`, '-c', file], { stdio: ['ignore', 'ignore', 'inherit'] });
  const url = `https://localhost:${port}`;
  const options = { ca: readFileSync(ca) };
  await until('nginx', () => child.exitCode === null && get(url, options).catch(() => undefined), { timeout: 60_000 });
  return {
    url,
    caFile: ca,
    options,
    stop: async () => {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function get(url, options) {
  const https = await import('node:https');
  return new Promise((done, failed) => https.get(`${url}/health`, options, (answer) => done(answer.statusCode)).once('error', failed));
}

const ways = {
  straight: () => ({ url: daemon.url }),
  'through nginx': () => nginx,
};

for (const [way, at] of Object.entries(ways)) {
  describe(`python-socketio, ${way}`, () => {
    for (const transport of ['websocket', 'polling']) {
      for (const dialect of dialects) {
        test(`${dialect} over ${transport}`, async () => {
          const { url, caFile } = at();
          const args = [join(import.meta.dirname, 'socketio_client.py'), url, token, dialect, transport, ...(caFile ? [caFile] : [])];
          const { stdout } = await promisify(execFile)(python, args, { timeout: 180_000, env: { ...process.env, ...(caFile && { REQUESTS_CA_BUNDLE: caFile }) } }).catch((error) => {
            throw new Error(`${error.stderr}\n${error.stdout}`);
          });
          assert.equal(stdout.trim().split('\n').at(-1), 'ok');
        });
      }
    }
  });
}

describe('socket.io-client through nginx', () => {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    for (const [n, first] of dialects.entries()) {
      const second = dialects[(n + 1) % dialects.length];
      test(`${first} is called by ${second} over ${transports.join(', then ')}`, async () => {
        // As a page of the site does it: its requests say where they come from.
        const options = { ca: nginx.options.ca, extraHeaders: { origin: nginx.url } };
        const a = await speak(first, nginx.url, { user: 'ada', transports, options });
        const b = await speak(second, nginx.url, { user: 'ben', transports, options });
        await b.enter(await a.enter());
        await a.comings.next();
        const [, turn] = b.iceServers;
        assert.match(turn.urls[0], /^turn:call\.example\.org:/, 'the daemon’s own name, whatever the proxy’s is');
        for (let i = 0; i < 100; i += 1) b.signal('candidate', { candidate: `c${i}`, sdpMid: '0' });
        for (let i = 0; i < 100; i += 1) assert.equal((await a.signals.next()).data.candidate, `c${i}`);
        const long = 'ü'.repeat(7_000);
        a.chat(long);
        assert.equal(await b.chats.next(), long);
        b.close();
        await a.goings.next();
        a.close();
      });
    }
  }

  test('a foreign page is kept out', async () => {
    const options = { ca: nginx.options.ca, extraHeaders: { origin: 'https://elsewhere.example' } };
    for (const transports of [['websocket'], ['polling']]) {
      await assert.rejects(speak('native', nginx.url, { user: 'eve', transports, options }));
    }
  });
});
