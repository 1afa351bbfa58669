import { $, el, setIcon } from './dom.js';
import { showCamera } from './devices.js';
import { watchLevel } from './level.js';
import { inWords } from './trouble.js';

/** The place before the call: what one looks like, which devices, what name. */
export class Lobby {
  #devices;
  #onJoin;
  #open = false;
  #stopLevel = () => {};
  #levelOf;
  #trouble;

  constructor(devices, onJoin) {
    this.#devices = devices;
    this.#onJoin = onJoin;
    devices.on('change', () => this.#open && this.#show());
    devices.on('trouble', ({ what, error }) => {
      this.#trouble = { what, error };
      if (this.#open) this.#show();
    });
    $('lobby-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const name = $('name').value.trim();
      remember(name);
      this.#onJoin({ name });
    });
    $('trouble-again').addEventListener('click', () => {
      this.#trouble = undefined;
      devices.open();
    });
    $('preview-mic').addEventListener('click', () => devices.setMic(!devices.micOn));
    $('preview-cam').addEventListener('click', () => devices.setCamera(!devices.cameraOn));
    $('microphone').addEventListener('change', ({ target }) => devices.choose('audio', target.value));
    $('camera').addEventListener('change', ({ target }) => devices.choose('video', target.value));
    navigator.mediaDevices?.addEventListener?.('devicechange', () => this.#open && this.#list());
  }

  /** Resolves when the devices are there, or will not come. */
  async open({ room, name, audio = true, video = true }) {
    this.#open = true;
    this.#trouble = undefined;
    $('lobby-room').textContent = room;
    $('name').value = name ?? remembered();
    const opened = this.#devices.open({ audio, video });
    this.#show();
    await opened;
  }

  close() {
    this.#open = false;
    this.#stopLevel();
    this.#levelOf = undefined;
    $('preview').srcObject = null;
  }

  #show() {
    const { mic, micOn, cameraOn, opening } = this.#devices;
    const preview = $('preview');
    preview.classList.toggle('on', cameraOn);
    showCamera(preview, this.#devices);
    toggle($('preview-mic'), micOn, 'mic', 'Microphone');
    toggle($('preview-cam'), cameraOn, 'cam', 'Camera');
    $('preview-note').textContent = opening ? 'Your browser asks whether this page may see and hear you.' : cameraOn ? '' : 'Your camera is off.';
    $('join-with').textContent = joinWith(micOn, cameraOn);
    if (mic !== this.#levelOf) {
      this.#stopLevel();
      this.#levelOf = mic;
      this.#stopLevel = watchLevel(mic, (level) => ($('level').value = level));
    }
    // What came about after all is no trouble any more.
    if (this.#trouble?.what === 'video' && cameraOn) this.#trouble = undefined;
    if (this.#trouble && this.#trouble.what !== 'video' && mic) this.#trouble = undefined;
    $('trouble').hidden = !this.#trouble;
    if (this.#trouble) {
      const { title, advice, again } = inWords(this.#trouble.error, this.#trouble.what);
      $('trouble-title').textContent = title;
      $('trouble-advice').textContent = advice;
      $('trouble-again').hidden = !again;
    }
    this.#list();
  }

  async #list() {
    const { audio, video } = await this.#devices.list();
    $('devices').hidden = !this.#devices.mic && !this.#devices.camera;
    fill($('microphone'), audio, this.#devices.inUse('audio'), 'Microphone');
    fill($('camera'), video, this.#devices.inUse('video'), 'Camera');
  }
}

function toggle(button, on, name, label) {
  button.setAttribute('aria-pressed', String(on));
  button.title = on ? `Turn the ${label.toLowerCase()} off` : `Turn the ${label.toLowerCase()} on`;
  setIcon(button, on ? name : `${name}-off`);
}

function fill(select, devices, current, label) {
  select.closest('.field').hidden = devices.length === 0;
  const wanted = devices.map(({ deviceId, label: named }, i) => ({ value: deviceId, text: named || `${label} ${i + 1}` }));
  const there = [...select.options].map(({ value, text }) => ({ value, text }));
  if (JSON.stringify(wanted) !== JSON.stringify(there)) select.replaceChildren(...wanted.map((option) => el('option', option)));
  if (current) select.value = current;
}

function joinWith(mic, camera) {
  if (mic && camera) return 'With camera and microphone.';
  if (mic) return 'With your microphone only.';
  if (camera) return 'With your camera, microphone off.';
  return 'To watch, listen and write. You can turn things on later.';
}

function remember(name) {
  try {
    localStorage.setItem('callgate.name', name);
  } catch {
    // Private windows may forbid it; then the name is typed again.
  }
}

function remembered() {
  try {
    return localStorage.getItem('callgate.name') ?? '';
  } catch {
    return '';
  }
}
