// The page's frame: which view is shown, and how one gets from one to the next. The views: home (no room in the
// address), lobby (a room, not yet in it), call, ended.
//
// For automation: ?room=ID&name=NAME&autojoin=1&relay=1&mic=0&cam=0&kind=call, and `window.callgate`
// ({ room, devices }): the SDK's Room of the call that goes on, or undefined.

import { Call } from './call.js';
import { Devices } from './devices.js';
import { $, say } from './dom.js';
import { Lobby } from './lobby.js';
import { isRoomId, newRoomId, roomFrom } from './rooms.js';
import { endInWords } from './trouble.js';

const devices = new Devices();
const lobby = new Lobby(devices, ({ name }) => enter(name));
const call = new Call(devices, ended);

window.callgate = {
  get room() {
    return call.room;
  },
  devices,
};

function asked() {
  const query = new URLSearchParams(location.search);
  const flag = (name) => ['1', 'true', ''].includes(query.get(name) ?? 'no');
  const unless = (name) => !['0', 'false'].includes(query.get(name));
  const room = query.get('room') ?? '';
  return {
    room: isRoomId(room) ? room : undefined,
    unusable: room !== '' && !isRoomId(room),
    name: query.get('name') ?? undefined,
    kind: query.get('kind') === 'call' ? 'call' : 'room',
    autojoin: flag('autojoin'),
    relayOnly: flag('relay'),
    audio: unless('mic'),
    video: unless('cam'),
  };
}

function show(view, { focus = true } = {}) {
  document.body.dataset.view = view;
  for (const id of ['home', 'lobby', 'ended']) $(id).hidden = id !== view;
  $('threshold').hidden = view === 'call';
  $('call').hidden = view !== 'call';
  const { room } = asked();
  document.title = room && view !== 'home' ? `${room} · callgate` : 'callgate';
  if (focus) $(`${view}-title`).focus({ preventScroll: true });
}

/** Shows what the address says; resolves when camera and microphone are there or will not come. */
async function follow({ focus = true } = {}) {
  const { room, unusable, name, audio, video } = asked();
  if (call.room && call.room.id !== room) call.room.leave();
  if (call.room) return;
  if (room) {
    show('lobby', { focus });
    joining(false);
    return lobby.open({ room, name, audio, video });
  } else {
    lobby.close();
    devices.close();
    $('open-error').textContent = unusable ? 'The room in this link is not one: letters, digits, - and _ only, 64 at most.' : '';
    show('home', { focus });
  }
}

function go(room) {
  const address = new URL('/', location.href);
  if (room) address.searchParams.set('room', room);
  history.pushState(null, '', address);
  follow();
}

function joining(on) {
  $('join').disabled = on;
  $('join').textContent = on ? 'Joining…' : 'Join the call';
}

// What the server takes for a name, in bytes.
const NAME = 128;
/** As much of it as the server takes, in whole characters. */
const fitting = (name) => name.slice(0, new TextEncoder().encodeInto(name, new Uint8Array(NAME)).read);

async function enter(name) {
  const { room, kind, relayOnly } = asked();
  if (!room || call.room || $('join').disabled) return;
  joining(true);
  say('Joining…');
  try {
    const onWaiting = () => {
      if (asked().room !== room) return;
      $('join').textContent = 'Waiting to be let in…';
      say('Somebody in the room has to let you in.', { urgent: true });
    };
    await call.start({ room, name: fitting(name), kind, relayOnly, onWaiting });
    // Meanwhile one may have gone back, or to another room.
    if (asked().room !== room) return follow();
    lobby.close();
    show('call');
  } catch (error) {
    if (asked().room === room) ended(error.code, error);
  } finally {
    joining(false);
  }
}

function ended(code, error) {
  lobby.close();
  devices.close();
  const { title, text, again } = endInWords(code, error);
  $('ended-title').textContent = title;
  $('ended-text').textContent = text;
  $('rejoin').hidden = !again;
  $('rejoin').textContent = code === 'left' ? 'Join again' : 'Try again';
  document.body.dataset.ended = code;
  // Going back in the history leaves the room, but the address is another one already.
  if (asked().room) show('ended');
}

$('start').addEventListener('click', () => go(newRoomId()));
$('new-call').addEventListener('click', () => go(newRoomId()));
$('rejoin').addEventListener('click', () => follow());
$('home-link').addEventListener('click', (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go();
});
$('open-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const room = roomFrom($('open-id').value);
  $('open-error').textContent = room ? '' : 'Paste the link you were sent, or type the room’s name: letters, digits, - and _.';
  if (room) go(room);
  else $('open-id').focus();
});
window.addEventListener('popstate', () => follow());

// Not awaited at the top level: the page would count as loading for as long as the browser asks for the camera.
follow({ focus: false }).then(() => {
  const { room, autojoin } = asked();
  if (room && autojoin) enter($('name').value.trim());
});
