// The page for those who may not, cannot or would rather not: no permission, no camera, no mouse, no place left.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, afterEach, before, test } from 'node:test';
import { start } from '../support/callgate.mjs';
import { freshRoom, id, openPeople } from './people.mjs';

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

let daemon;
let people;
let refused;
before(async () => {
  daemon = await start({ config: { rooms: { capacity: 2 } } });
  people = await openPeople(daemon);
  refused = await openPeople(daemon, { denied: true });
});
afterEach(() => Promise.all([people.clear(), refused.clear()]));
after(async () => {
  await people?.close();
  await refused?.close();
  await daemon?.stop();
});

/** Makes getUserMedia fail for these kinds, or everything about it go away. */
async function broken(query, script, argument) {
  const who = await people.visit(query);
  await who.page.addInitScript(script, argument);
  await who.page.reload();
  return who;
}

test('a refused camera is explained, and one can join without it', async () => {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada');
  const ben = await refused.visit({ room, name: 'Ben' });
  await ben.waitText('trouble', /may not be used here\..*allow it, and try again/s);
  assert.equal(await ben.page.isVisible(id('trouble-again')), true);
  await ben.waitText('join-with', /watch, listen and write/);
  await ben.click('join');
  await ben.connected('Ada');
  await ben.watch('Ada', 5);
  assert.deepEqual(ben.problems, []);
  // Turning it on in the call says the same.
  await ben.click('cam');
  await ben.waitText('banner', /camera may not be used/);
  assert.equal((await ada.sees('Ben')).connection, 'connected');
});

test('what is missing or in use is named, and the other device is used all the same', async () => {
  const fail = ([kinds, name]) => {
    const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = (wanted) =>
      kinds.some((kind) => wanted[kind]) ? Promise.reject(new DOMException('for the test', name)) : real(wanted);
  };
  const query = { room: freshRoom(), name: 'Ada' };
  for (const [kinds, name, words, joining] of [
    [['video'], 'NotFoundError', /No camera found/, /microphone only/],
    [['audio'], 'NotReadableError', /microphone could not be started.*Another program/s, /With your camera, microphone off/],
    [['audio', 'video'], 'NotFoundError', /No camera and microphone found/, /To watch/],
  ]) {
    const ada = await broken(query, fail, [kinds, name]);
    await ada.waitText('trouble', words);
    await ada.waitText('join-with', joining);
  }
});

test('a page without https says so', async () => {
  const ada = await broken({ room: freshRoom() }, () => Object.defineProperty(navigator, 'mediaDevices', { value: undefined }));
  await ada.waitText('trouble', /only to pages opened with https/);
  await ada.click('join');
  await ada.wait('in', () => ada.page.isVisible(id('share-link')));
});

test('a whole call by keyboard', async () => {
  const ada = await people.visit({ name: 'Ada' });
  const { keyboard } = ada.page;
  const focused = () => ada.page.evaluate(() => document.activeElement.id);
  const focusOn = (wanted) => ada.wait(`the focus on ${wanted}`, async () => (await focused()) === wanted);
  /** Tabs on until that element has the focus, which must be seen there. */
  const tabTo = async (wanted) => {
    for (let i = 0; i < 25; i += 1) {
      await keyboard.press('Tab');
      if ((await focused()) !== wanted) continue;
      const outline = await ada.page.evaluate(() => {
        const at = document.activeElement;
        const shown = [at, at.nextElementSibling].filter(Boolean);
        return shown.map((each) => getComputedStyle(each)).some((style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2);
      });
      assert.ok(outline, `${wanted} shows its focus`);
      return;
    }
    assert.fail(`Tab never came to ${wanted}, last at ${await focused()}`);
  };
  await tabTo('start');
  await keyboard.press('Enter');
  await focusOn('lobby-title');
  await tabTo('name');
  await keyboard.press('Control+A');
  await keyboard.type('Ada');
  await tabTo('join');
  await keyboard.press('Enter');
  await ada.wait('in the room', () => ada.page.isVisible(id('share-link')));
  await focusOn('call-title');
  const room = await ada.text('room-id');
  assert.match(room, /^[a-z]+-[a-z]+-[a-z0-9]{6}$/);
  assert.equal(await ada.page.inputValue(id('share-link')), `${daemon.url}/?room=${room}`);

  const ben = await people.join(room, 'Ben');
  await ada.connected('Ben');
  await ada.wait('said', async () => /Ben joined/.test(await ada.page.textContent('#said')));
  await tabTo('route');
  await keyboard.press('Enter');
  await tabTo('relay-switch');
  await keyboard.press('Escape');
  await focusOn('route');
  await tabTo('mic');
  await keyboard.press('Space');
  await ben.wait('Ada muted', () => ben.page.isVisible('.tile-muted'));
  await tabTo('chat-toggle');
  await keyboard.press('Enter');
  await focusOn('chat-text');
  await keyboard.type('by hand');
  await keyboard.press('Enter');
  await ben.wait('the line', async () => (await ben.lines()).includes('by hand'));
  await keyboard.press('Escape');
  await focusOn('chat-toggle');
  await tabTo('leave');
  await keyboard.press('Enter');
  await focusOn('ended-title');
});

test('a full room says so, and lets one try again', async () => {
  const room = freshRoom();
  const [ada, ben] = [await people.join(room, 'Ada'), await people.join(room, 'Ben')];
  const chiara = await people.visit({ room, name: 'Chiara', autojoin: '1' });
  await chiara.waitText('ended-title', /The room is full/);
  await ada.click('leave');
  await ben.wait('Ada gone', async () => (await ben.sees('Ada')) === undefined);
  await chiara.click('rejoin');
  await chiara.click('join');
  await chiara.connected('Ben');
});

test('a call for two is over when one leaves', async () => {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada', { kind: 'call' });
  const ben = await people.join(room, 'Ben', { kind: 'call' });
  await ada.connected('Ben');
  await ben.click('leave');
  await ada.waitText('ended-title', /The call is over/);
});

test('a server that does not answer is named as such', async () => {
  const ada = await people.visit({ room: freshRoom(), name: 'Ada' });
  await ada.page.route('**/socket.io/**', (route) => route.abort());
  await ada.page.routeWebSocket('**/socket.io/**', (socket) => socket.close());
  await ada.click('join');
  await ada.waitText('ended-title', /server does not answer/);
});

test('links, room names and nonsense typed at home', async () => {
  const ada = await people.visit({});
  for (const [typed, room] of [
    [`${daemon.url}/?room=from-a-link`, 'from-a-link'],
    ['  quiet harbour ', 'quiet-harbour'],
  ]) {
    await ada.page.goto(daemon.url);
    await ada.page.fill(id('open-id'), typed);
    await ada.click('open');
    await ada.wait('the lobby', async () => (await ada.text('lobby-room')) === room);
    assert.equal(new URL(ada.page.url()).searchParams.get('room'), room);
  }
  await ada.page.goto(daemon.url);
  await ada.page.fill(id('open-id'), 'was/ist?das');
  await ada.click('open');
  await ada.wait('the error', async () => /letters, digits/.test(await ada.page.textContent('#open-error')));
  await ada.page.goto(`${daemon.url}/?room=${encodeURIComponent('<b>')}`);
  await ada.wait('the error', async () => /letters, digits/.test(await ada.page.textContent('#open-error')));
});

for (const colorScheme of ['light', 'dark']) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 640 }]) {
    test(`axe finds nothing to say against any view: ${colorScheme}, ${viewport.width} wide`, async () => {
      const room = freshRoom();
      const context = { colorScheme, viewport, reducedMotion: 'reduce', bypassCSP: true };
      const check = async (who, view) => {
        await who.page.addScriptTag({ path: axe });
        const { violations } = await who.page.evaluate(() => window.axe.run());
        const found = violations.map(({ id: rule, nodes }) => `${rule}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join('; ')}`);
        assert.deepEqual(found, [], view);
        const overflow = await who.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${view} is ${overflow} px too wide`);
      };
      const ada = await people.visit({}, context);
      await check(ada, 'home');
      await ada.page.goto(`${daemon.url}/?room=${room}&name=Ada`);
      await ada.waitText('join-with', /With camera and microphone/);
      await check(ada, 'lobby');
      await ada.click('join');
      await ada.wait('in the room', () => ada.page.isVisible(id('share-link')));
      await check(ada, 'alone');
      const ben = await people.join(room, 'Ben');
      await ada.connected('Ben');
      await ben.page.evaluate(() => window.callgate.room.chat('see https://example.org/'));
      await ada.click('route');
      await ada.waitText('route-text', /Direct/);
      await check(ada, 'in the call');
      await ada.page.keyboard.press('Escape');
      await ada.click('chat-toggle');
      await check(ada, 'chat');
      await ada.page.keyboard.press('Escape');
      await ada.click('leave');
      await check(ada, 'ended');
    });
  }
}
