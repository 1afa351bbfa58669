import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePort, start } from '../support/callgate.mjs';
import { freshRoom, id, openPeople } from './people.mjs';

let daemon;
let people;
let folder;
let secure;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'callgate-relay-page-'));
  const [certificate, key] = ['cert.pem', 'key.pem'].map((name) => join(folder, name));
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', [...made, ...subject, '-out', certificate, '-keyout', key], { stdio: 'ignore' });
  secure = await freePort('tcp');
  daemon = await start({ config: { tls: { listen: [`127.0.0.1:${secure}`], certificate, key } } });
  people = await openPeople(daemon, { args: ['--ignore-certificate-errors'] });
});
after(async () => {
  await people?.close();
  await daemon?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('the switch moves a running call to the relay and back, and the line says so', async () => {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada');
  const ben = await people.join(room, 'Ben');
  await ada.connected('Ben');
  await ada.waitText('route-text', /^Direct over UDP/);
  await ada.click('route');
  await ada.page.locator(id('relay-switch')).press('Space');
  await ada.wait('relayed', async () => (await ada.info('Ben'))?.local.type === 'relay');
  await Promise.all([ada.watch('Ben', 10), ben.watch('Ada', 10)]);
  await ada.waitText('route-text', /^Relayed over UDP · (under 1|\d+) ms/);
  await ben.waitText('route-text', /^Relayed over UDP/);
  assert.ok((await daemon.metrics()).sum('callgate_allocations') > 0);
  await ada.page.locator(id('relay-switch')).press('Space');
  await ada.wait('direct again', async () => (await ada.info('Ben'))?.path === 'direct');
  await Promise.all([ada.watch('Ben', 10), ben.watch('Ada', 10)]);
  await people.clear();
});

test('relay=1 on both sides joins a call that never was direct', async () => {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada', { relay: '1' });
  const ben = await people.join(room, 'Ben', { relay: '1' });
  await ada.connected('Ben');
  await Promise.all([ada.watch('Ben', 10), ben.watch('Ada', 10)]);
  assert.deepEqual(
    [(await ada.info('Ben')).relays, (await ben.info('Ada')).relays],
    ['both', 'both'],
  );
  assert.equal(await ada.page.isChecked(id('relay-switch')), true);
  await people.clear();
});

test('every way to the relay is handed out in the order to try it, and the browser takes them', async () => {
  const ada = await people.join(freshRoom(), 'Ada');
  const [stun, turn, ...more] = await ada.page.evaluate(() => {
    const pc = new RTCPeerConnection();
    return new Promise((resolve) => {
      window.callgate.room.socket.emit('ice.refresh', { room: window.callgate.room.id }, ({ iceServers }) => {
        pc.setConfiguration({ iceServers });
        resolve(iceServers);
      });
    });
  });
  assert.deepEqual(more, []);
  assert.deepEqual(stun.urls, [`stun:127.0.0.1:${daemon.turnPort}`, `stun:[::1]:${daemon.turnPort}`]);
  const ways = turn.urls.map((url) => url.replace(/:\d+\?/, '?'));
  assert.deepEqual(ways, [
    'turn:127.0.0.1?transport=udp',
    'turn:[::1]?transport=udp',
    'turn:127.0.0.1?transport=tcp',
    'turn:[::1]?transport=tcp',
    'turns:127.0.0.1?transport=tcp',
    'turns:[::1]?transport=tcp',
  ]);
  assert.ok(turn.urls[4].includes(`:${secure}?`), turn.urls[4]);
  assert.deepEqual(ada.problems, []);
  await people.clear();
});

for (const [ways, protocol, words] of [
  ['^turn:.*transport=udp$', 'udp', /^Relayed over UDP/],
  ['^turn:.*transport=tcp$', 'tcp', /^Relayed over TCP/],
  ['^turns:', 'tls', /^Relayed over TLS/],
]) {
  test(`where only ${ways} gets through, the call goes that way, and the page says so`, async () => {
    const room = freshRoom();
    const ada = await people.join(room, 'Ada', { relay: '1' }, { ways });
    const ben = await people.join(room, 'Ben');
    await ada.connected('Ben');
    await Promise.all([ada.watch('Ben', 10), ben.watch('Ada', 10)]);
    const { local, path } = await ada.info('Ben');
    assert.deepEqual([path, local.type, local.relayProtocol], ['relayed', 'relay', protocol]);
    await ada.waitText('route-text', words);
    await people.clear();
  });
}
