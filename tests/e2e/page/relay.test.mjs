import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePort, start, until } from '../support/callgate.mjs';
import { freshRoom, id, openPeople } from './people.mjs';

const TOKEN = 'a-token-of-the-operator';
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
  const tls = { listen: [`127.0.0.1:${secure}`, `[::1]:${secure}`], certificate, key };
  daemon = await start({ config: { tls, admin: { token: TOKEN } } });
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
  // On a busy machine the browser may find TCP to be quicker.
  await ada.waitText('route-text', /^Relayed over (UDP|TCP) · (under 1|\d+) ms/);
  await ben.waitText('route-text', /^Relayed over (UDP|TCP)/);
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

test('what is relayed is counted for each member, and who is put out is relayed no more', async () => {
  const api = (path, method = 'GET', body) =>
    fetch(daemon.url + path, { method, body: body && JSON.stringify(body), headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' } });
  const allocations = async () => (await daemon.metrics()).sum('callgate_allocations');
  const room = freshRoom();
  await until('a clean start', async () => (await allocations()) === 0);
  const names = ['Ada', 'Ben', 'Chiara'];
  const [ada, ben, chiara] = await Promise.all(names.map((name) => people.join(room, name, { relay: '1' })));
  await Promise.all([ada.connected('Ben'), ada.connected('Chiara'), ben.connected('Chiara')]);
  await Promise.all([ada.watch('Ben', 10), ben.watch('Ada', 10), chiara.watch('Ada', 10)]);
  const counted = async () => (await api(`/api/rooms/${room}`)).json();
  const flows = ({ relay }) => relay.toPeer.packets > 50 && relay.toClient.packets > 50;
  await until('fifty packets of each', async () => (await counted()).members.every(flows)).catch(() => {});
  const { members, relay } = await counted();
  assert.deepEqual(members.map(({ name }) => name).sort(), names);
  for (const { name, relay: its } of members) {
    assert.ok(its.toPeer.packets > 50 && its.toClient.packets > 50, `${name}: ${JSON.stringify(its)}`);
    assert.ok(its.toPeer.bytes > 20 * its.toPeer.packets, `${name}: ${JSON.stringify(its)}`);
  }
  assert.equal(relay.toPeer.packets, members.reduce((sum, each) => sum + each.relay.toPeer.packets, 0));

  const before = await allocations();
  const { peerId } = members.find(({ name }) => name === 'Ada');
  assert.deepEqual(await (await api(`/api/rooms/${room}/kick`, 'POST', { peerId })).json(), { kicked: 1 });
  const kicked = Date.now();
  await until('her relays to end', async () => (await allocations()) < before, { every: 20 });
  // At once; by itself a relay would last for minutes.
  assert.ok(Date.now() - kicked < 10_000, `${Date.now() - kicked} ms`);
  await ada.waitText('ended-title', /put out/);
  await Promise.all([ben.watch('Chiara', 10), chiara.watch('Ben', 10)]);

  assert.equal((await api(`/api/rooms/${room}`, 'DELETE')).status, 204);
  const ended = Date.now();
  await until('all relays to end', async () => (await allocations()) === 0, { every: 20 });
  assert.ok(Date.now() - ended < 10_000, `${Date.now() - ended} ms`);
  await ben.waitText('ended-text', /has ended it/);
  await people.clear();
});
