import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { start } from '../support/callgate.mjs';
import { freshRoom, id, openPeople } from './people.mjs';

let daemon;
let people;
before(async () => {
  daemon = await start();
  people = await openPeople(daemon);
});
afterEach(() => people.clear());
after(async () => {
  await people?.close();
  await daemon?.stop();
});

async function pair() {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada');
  const ben = await people.join(room, 'Ben');
  await Promise.all([ada.connected('Ben'), ben.connected('Ada')]);
  return { room, ada, ben };
}

test('two pages see and hear each other', async () => {
  const { ada, ben } = await pair();
  await Promise.all([ada.watch('Ben'), ben.watch('Ada')]);
  for (const [one, other] of [[ada, 'Ben'], [ben, 'Ada']]) {
    await one.wait('audio flows', async () => (await one.sees(other)).audioPackets > 0);
    await one.waitText('route-text', /^(Direct|Relayed) over (UDP|TCP)/);
    await one.waitText('headcount', /^Two of you$/);
    assert.equal(await one.page.getAttribute(id('tile'), 'aria-label'), other);
    await one.wait('the picture', async () => (await one.page.getAttribute(id('tile'), 'data-picture')) === 'true');
    assert.deepEqual(one.problems, []);
  }
});

test('what one writes the other reads, in order, and what looks like a tag stays text', async () => {
  const { ada, ben } = await pair();
  for (const [who, text] of [[ada, 'Hello <b>Ben</b>'], [ada, 'see https://example.org/a?b=c now'], [ben, 'Hello Ada']]) {
    if (!(await who.page.isVisible(id('chat-text')))) await who.click('chat-toggle');
    await who.page.fill(id('chat-text'), text);
    await who.page.press(id('chat-text'), 'Enter');
    const both = [ada, ben].map((each) => each.wait(`the line "${text}"`, async () => (await each.lines()).includes(text)));
    await Promise.all(both);
  }
  assert.deepEqual(await ada.lines(), ['Hello <b>Ben</b>', 'see https://example.org/a?b=c now', 'Hello Ada']);
  assert.deepEqual(await ben.lines(), await ada.lines());
  assert.equal(await ben.page.getAttribute(`${id('chat-log')} a`, 'href'), 'https://example.org/a?b=c');
  for (const each of [ada, ben]) await each.wait('nothing unsent', async () => !(await each.page.isVisible('.unsent')));
});

test('a message that comes while the chat is closed is counted and said', async () => {
  const { ada, ben } = await pair();
  await ada.page.evaluate(() => window.callgate.room.chat('psst'));
  await ben.wait('the badge', () => ben.page.isVisible('#unread'));
  await ben.wait('said', async () => /Ada writes: psst/.test(await ben.page.textContent('#said')));
  await ben.click('chat-toggle');
  await ben.wait('no badge', async () => !(await ben.page.isVisible('#unread')));
});

test('muting and the camera reach the other side', async () => {
  const { ada, ben } = await pair();
  await ben.watch('Ada', 3);
  await ada.click('mic');
  await ben.wait('Ada muted', () => ben.page.isVisible('.tile-muted'));
  await ada.click('cam');
  await ben.wait('no picture of Ada', async () => (await ben.page.getAttribute(id('tile'), 'data-picture')) === 'false');
  const letGo = () => ada.page.evaluate(() => window.callgate.devices.stream.getVideoTracks().length === 0);
  await ada.wait('the camera is let go of, so that its light goes out', letGo);
  await ada.click('cam');
  await ben.wait('Ada’s picture again', async () => (await ben.page.getAttribute(id('tile'), 'data-picture')) === 'true');
  await ben.watch('Ada', 3);
});

test('leaving is seen at once, and the room can be entered again', async () => {
  const { ada, ben } = await pair();
  await ben.click('leave');
  await ben.waitText('ended-title', /You left/);
  // Long before the grace of one who is lost.
  await ada.wait('Ben gone', async () => (await ada.sees('Ben')) === undefined, { timeout: 15_000 });
  await ada.wait('alone', async () => (await ada.page.getAttribute(id('stage'), 'data-alone')) === 'true');
  await ada.wait('said', async () => /Ben left/.test(await ada.page.textContent('#said')));
  await ben.click('rejoin');
  await ben.click('join');
  await ada.connected('Ben');
  await ada.watch('Ben', 3);
});

test('closing the tab is leaving', async () => {
  const { ada, ben } = await pair();
  await ben.page.close({ runBeforeUnload: false });
  await ada.wait('Ben gone', async () => (await ada.sees('Ben')) === undefined, { timeout: 15_000 });
});

test('three people are a mesh, and one without a camera is heard and named', async () => {
  const { room, ada, ben } = await pair();
  const chiara = await people.join(room, 'Chiara', { cam: '0' });
  await Promise.all([ada.connected('Chiara'), ben.connected('Chiara'), chiara.connected('Ada'), chiara.connected('Ben')]);
  await Promise.all([chiara.watch('Ada', 5), chiara.watch('Ben', 5), ada.watch('Ben', 5)]);
  await ada.wait('two tiles', async () => (await ada.page.locator(id('tile')).count()) === 2);
  await chiara.waitText('headcount', /^3 people$/);
  await ada.wait('Chiara heard', async () => (await ada.sees('Chiara')).audioPackets > 5);
  assert.equal(await ada.page.locator(`${id('tile')}[aria-label="Chiara"]`).getAttribute('data-picture'), 'false');
  // Later she turns her camera on: the connections that never had video get it.
  await chiara.click('cam');
  await Promise.all([ada.watch('Chiara', 5), ben.watch('Chiara', 5)]);
});

test('somebody without any device sees, hears and writes', async () => {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada');
  const dora = await people.join(room, 'Dora', { cam: '0', mic: '0' });
  await dora.connected('Ada');
  await dora.watch('Ada', 5);
  await dora.page.evaluate(() => window.callgate.room.chat('only watching'));
  await ada.wait('her line', async () => (await ada.lines()).includes('only watching'));
});

test('going back while joining is not joining', async () => {
  const ada = await people.visit({});
  await ada.click('start');
  await ada.wait('the lobby', () => ada.page.isEnabled(id('join')));
  await ada.page.evaluate((join) => {
    document.querySelector(join).click();
    history.back();
  }, id('join'));
  await ada.wait('home', () => ada.page.evaluate(() => document.body.dataset.view === 'home'));
  await ada.wait('out of the room', async () => {
    const inside = await ada.page.evaluate(() => Boolean(window.callgate.room));
    const m = await daemon.metrics();
    return !inside && m.sum('callgate_joins_total') > 0 && m.sum('callgate_peers') === 0;
  });
  assert.equal(await ada.page.evaluate(() => document.body.dataset.view), 'home');
});
