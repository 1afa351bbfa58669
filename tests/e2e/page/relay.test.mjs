import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { start } from '../support/callgate.mjs';
import { freshRoom, id, openPeople } from './people.mjs';

let daemon;
let people;
before(async () => {
  daemon = await start();
  people = await openPeople(daemon);
});
after(async () => {
  await people?.close();
  await daemon?.stop();
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
