// What the page shows and says is so: no camera that nobody wants any more, ends in words, names in any script, true labels.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { start, until } from '../support/callgate.mjs';
import { freshRoom, id, openPeople } from './people.mjs';

let daemon;
let people;
before(async () => {
  daemon = await start({ config: { rooms: { grace: '4s' } } });
  people = await openPeople(daemon);
});
afterEach(() => people.clear());
after(async () => {
  await people?.close();
  await daemon?.stop();
});

test('a camera that is allowed after one has gone elsewhere does not come on', async () => {
  const ada = await people.visit({});
  await ada.page.addInitScript(() => {
    const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    window.given = [];
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      await new Promise((allow) => (window.allow = allow));
      const stream = await real(wanted);
      window.given.push(...stream.getTracks());
      return stream;
    };
  });
  await ada.page.goto(`${daemon.url}/?room=${freshRoom()}`);
  await ada.wait('asked', () => ada.page.evaluate(() => Boolean(window.allow)));
  await ada.page.click('#home-link');
  await ada.page.evaluate(() => window.allow());
  await ada.wait('given', () => ada.page.evaluate(() => window.given.length === 2));
  await ada.wait('let go of', () => ada.page.evaluate(() => window.given.every((track) => track.readyState === 'ended')));
});

test('a call whose other side is lost says so', async () => {
  const room = freshRoom();
  const ada = await people.join(room, 'Ada', { kind: 'call' });
  const ben = await people.join(room, 'Ben', { kind: 'call' });
  await ada.connected('Ben');
  await ben.page.evaluate(() => {
    const { socket } = window.callgate.room;
    socket.io.reconnection(false);
    socket.io.engine.close();
  });
  await ada.waitText('ended-title', /The call is over/);
  await ada.waitText('ended-text', /lost the connection/);
});

test('a long name in any script gets one in', async () => {
  const ada = await people.join(freshRoom(), '名'.repeat(60));
  assert.equal(await ada.page.evaluate(() => window.callgate.room.self.name), '名'.repeat(42));
});

test('buttons whose words change are not also pressed', async () => {
  const ada = await people.join(freshRoom(), 'Ada');
  for (const [button, words] of [['mic', ['Mute', 'Unmute']], ['cam', ['Camera off', 'Camera on']]]) {
    for (const word of words) {
      await ada.waitText(button, new RegExp(`^${word}$`));
      assert.equal(await ada.page.getAttribute(id(button), 'aria-pressed'), null);
      await ada.click(button);
    }
  }
});

test('who is away already when one comes is known to be', async (t) => {
  const token = 'the operator of this test';
  const patient = await start({ config: { rooms: { grace: '5m' }, admin: { token } } });
  t.after(() => patient.stop());
  const guests = await openPeople(patient);
  t.after(() => guests.close());
  const room = freshRoom();
  const ada = await guests.join(room, 'Ada');
  await ada.page.evaluate(() => {
    const { socket } = window.callgate.room;
    socket.io.reconnection(false);
    socket.io.engine.close();
  });
  await until('Ada away', async () => {
    const answer = await fetch(`${patient.url}/api/rooms/${room}`, { headers: { authorization: `Bearer ${token}` } });
    return (await answer.json()).members[0].away;
  });
  const ben = await guests.join(room, 'Ben');
  assert.equal((await ben.sees('Ada')).away, true);
});
