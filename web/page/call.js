import { join } from '/sdk.js';
import { Chat } from './chat.js';
import { showCamera } from './devices.js';
import { $, copy, say, setIcon } from './dom.js';
import { linkTo } from './rooms.js';
import { Route } from './route.js';
import { Tiles, nameOf } from './tiles.js';
import { inWords } from './trouble.js';

const NOTICE = 8_000;

/** The call itself: one room, the devices, and everything on the screen about them. */
export class Call {
  room;
  #devices;
  #onEnd;
  #tiles = new Tiles();
  #chat = new Chat((text) => this.room.chat(text));
  #route = new Route((on) => this.#relay(on));
  #sent = {};
  #notices = {};
  #wake;

  constructor(devices, onEnd) {
    this.#devices = devices;
    this.#onEnd = onEnd;
    devices.on('change', () => this.room && this.#devicesChanged());
    devices.on('trouble', ({ what, error }) => {
      if (!this.room) return;
      const { title, advice } = inWords(error, what);
      this.#notice('trouble', `${title} ${advice}`, NOTICE);
    });
    $('mic').addEventListener('click', () => devices.setMic(!devices.micOn));
    $('cam').addEventListener('click', () => devices.setCamera(!devices.cameraOn));
    $('leave').addEventListener('click', () => this.room?.leave());
    $('copy-link').addEventListener('click', () => this.#copyLink($('copy-link').querySelector('span')));
    $('share-copy').addEventListener('click', () => this.#copyLink($('share-copy')));
    $('share-link').addEventListener('focus', ({ target }) => target.select());
    $('share-send').addEventListener('click', () => navigator.share({ title: 'Join my call', url: linkTo(this.room.id) }).catch(() => {}));
    $('share-send').hidden = !navigator.share;
    document.addEventListener('visibilitychange', () => this.#stayAwake());
  }

  /** Resolves once in the room; rejects with the SDK's CallgateError. */
  async start({ room: id, name, kind, relayOnly, onWaiting }) {
    const room = await join({ room: id, kind, name: name || undefined, media: this.#devices.stream, relayOnly, onWaiting });
    this.room = room;
    this.#sent = { audio: this.#devices.mic, video: this.#devices.camera };
    this.#notices = {};
    this.#chat.clear();
    this.#tiles.clear();
    $('call-room').textContent = room.id;
    $('waiting-title').textContent = 'You’re the first one here.';
    $('share-link').value = linkTo(room.id);
    this.#listen(room);
    this.#route.begin(() => [...room.peers.values()], room.relayOnly);
    for (const peer of room.peers.values()) this.#tiles.add(peer);
    this.#devicesChanged();
    this.#headcount();
    this.#doorbell();
    this.#stayAwake();
    const others = [...room.peers.values()].map(nameOf);
    say(others.length ? `You are in. Here already: ${others.join(', ')}.` : 'You are in. Nobody else is here yet.');
    return room;
  }

  #listen(room) {
    const refresh = ({ peer }) => {
      this.#tiles.refresh(peer);
      this.#route.show();
    };
    for (const name of ['connection', 'ice', 'stream', 'stream-removed', 'track', 'peer-state', 'peer-away', 'peer-back']) room.on(name, refresh);
    room.on('connection', async ({ peer, state }) => {
      if (state !== 'connected') return;
      const info = await room.connectionInfo(peer.peerId);
      if (info) this.#route.learned(peer, info);
    });
    room.on('peer-joined', ({ peer, here }) => {
      this.#tiles.add(peer);
      this.#headcount();
      if (!here) say(`${nameOf(peer)} joined.`);
    });
    room.on('peer-left', ({ peer, reason }) => {
      this.#tiles.remove(peer);
      this.#route.forget(peer);
      this.#headcount();
      if (reason !== 'rejoined') say(`${nameOf(peer)} ${reason === 'lost' ? 'lost the connection' : 'left'}.`);
    });
    const doorbell = () => this.#doorbell();
    room.on('peer-waiting', ({ peer }) => {
      say(`${nameOf(peer)} waits to be let in.`, { urgent: true });
      doorbell();
    });
    room.on('peer-not-waiting', doorbell);
    room.on('stats', ({ peer, ...info }) => this.#route.learned(peer, info));
    room.on('chat', (message) => this.#chat.received(message));
    room.on('state', ({ state }) => {
      this.#notice('signaling', state === 'reconnecting' ? 'Lost touch with the server, reconnecting… Your call goes on meanwhile.' : '');
      if (state === 'joined') {
        this.#notice('draining', '');
        say('Connected to the server again.');
      }
    });
    room.on('draining', () => this.#notice('draining', 'The server is about to restart. The call may pause for a moment, then it comes back.'));
    room.on('error', (error) => console.warn('callgate:', error.code, error.message));
    room.on('peer-error', ({ error }) => console.warn('callgate:', error));
    room.on('closed', ({ reason, error }) => this.#ended(reason, error));
  }

  #ended(reason, error) {
    this.room = undefined;
    this.#tiles.clear();
    this.#chat.clear();
    this.#notice('signaling', '');
    this.#notice('draining', '');
    $('doorbell').hidden = true;
    $('self-video').srcObject = null;
    this.#wake?.release().catch(() => {});
    this.#onEnd(reason, error);
  }

  #devicesChanged() {
    const { mic, camera, micOn, cameraOn, opening } = this.#devices;
    for (const [kind, track] of Object.entries({ audio: mic, video: camera })) {
      if (this.#sent[kind] === track) continue;
      this.#sent[kind] = track;
      this.room.replaceTrack(kind, track ?? null).catch((error) => console.warn('callgate:', error));
    }
    this.room.setState({ audio: micOn, video: cameraOn });
    control($('mic'), micOn, 'mic', { on: 'Mute', off: mic ? 'Unmute' : 'Mic on' });
    control($('cam'), cameraOn, 'cam', { on: 'Camera off', off: 'Camera on' });
    for (const button of [$('mic'), $('cam')]) button.disabled = opening;
    $('self').dataset.picture = String(cameraOn);
    $('self-caption').textContent = micOn ? 'You' : 'You, muted';
    showCamera($('self-video'), this.#devices);
  }

  #headcount() {
    const n = this.room.peers.size;
    $('stage').dataset.alone = String(n === 0);
    if (n > 0) $('waiting-title').textContent = 'Only you are here now.';
    $('headcount').textContent = n === 0 ? 'Waiting for somebody' : n === 1 ? 'Two of you' : `${n + 1} people`;
    this.#route.show();
  }

  /** Who waits to be let in, for those who may: one at a time. */
  #doorbell() {
    const [peer] = this.room?.waiting.values() ?? [];
    $('doorbell').hidden = !peer;
    if (!peer) return;
    $('doorbell-text').textContent = `${nameOf(peer)} waits to be let in.`;
    const answer = (admit) => () => this.room?.admit(peer.peerId, admit).catch((error) => this.#notice('trouble', error.message, NOTICE));
    $('doorbell-in').onclick = answer(true);
    $('doorbell-out').onclick = answer(false);
  }

  #relay(on) {
    this.room?.setRelayOnly(on);
    say(on ? 'Going through the relay from now on.' : 'Connecting directly where possible.');
  }

  async #copyLink(label) {
    const link = linkTo(this.room.id);
    const done = await copy(link, this.room.peers.size ? undefined : $('share-link'));
    const before = label.dataset.text ?? (label.dataset.text = label.textContent);
    label.textContent = done ? 'Copied' : 'Copy failed';
    say(done ? 'Link copied.' : `Copying was not possible. The link is ${link}`);
    setTimeout(() => (label.textContent = before), 2_000);
  }

  /** Shows `text` over the call until it is taken back with an empty one, or for `ms`. */
  #notice(topic, text, ms) {
    if ((this.#notices[topic] ?? '') === text) return;
    this.#notices[topic] = text;
    const shown = this.#notices.signaling || this.#notices.draining || this.#notices.trouble || '';
    $('banner').textContent = shown;
    $('banner').hidden = !shown;
    if (text) say(text, { urgent: topic === 'trouble' });
    if (ms) setTimeout(() => this.#notice(topic, ''), ms);
  }

  /** Keeps a phone's screen on while the call is in front. */
  async #stayAwake() {
    if (!this.room || document.visibilityState !== 'visible') return;
    this.#wake = await navigator.wakeLock?.request('screen').catch(() => undefined);
  }
}

function control(button, on, name, labels) {
  // Its words say what a press does, so they change; a pressed "Mute" would mean that one is muted.
  button.dataset.on = String(on);
  setIcon(button, on ? name : `${name}-off`);
  button.querySelector('.label').textContent = on ? labels.on : labels.off;
}
