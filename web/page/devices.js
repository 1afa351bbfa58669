import { Events } from '/sdk/events.js';

const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };

/**
 * Camera and microphone. `stream` always exists, with a track of each kind that is on. Emits "change" when a track came
 * or went, and "trouble" `{ what, error }` when one could not be had. A camera that is off is let go of, so that its
 * light goes out; a muted microphone is kept.
 */
export class Devices extends Events {
  stream = new MediaStream();
  #chosen = { audio: undefined, video: undefined };
  #muted = false;
  #opening = 0;
  /** How often everything was let go of: what was asked for before that is not wanted any more. */
  #closings = 0;

  get mic() {
    return this.#track('audio');
  }

  get camera() {
    return this.#track('video');
  }

  get micOn() {
    return Boolean(this.mic) && !this.#muted;
  }

  get cameraOn() {
    return Boolean(this.camera);
  }

  get opening() {
    return this.#opening > 0;
  }

  /** Asks for what is wanted and not there yet. What fails is told by "trouble"; the rest is had all the same. */
  async open({ audio = true, video = true } = {}) {
    const wanted = { audio: audio && !this.mic, video: video && !this.camera };
    if (!wanted.audio && !wanted.video) return;
    const what = wanted.audio && wanted.video ? 'both' : wanted.audio ? 'audio' : 'video';
    try {
      await this.#get(wanted);
    } catch (error) {
      // One of the two may be missing: the other is welcome. A refusal holds for both, and is not asked about twice.
      if (what !== 'both' || ['NotAllowedError', 'InsecureContext'].includes(error.name)) return this.emit('trouble', { what, error });
      for (const kind of ['audio', 'video']) {
        await this.#get({ [kind]: true }).catch((failed) => this.emit('trouble', { what: kind, error: failed }));
      }
      if (!this.mic && !this.camera) this.emit('trouble', { what: 'both', error });
    }
  }

  /** Takes another device of that kind. */
  async choose(kind, deviceId) {
    this.#chosen[kind] = deviceId;
    const old = this.#track(kind);
    try {
      await this.#get({ [kind]: true });
    } catch (error) {
      this.emit('trouble', { what: kind, error });
      return;
    }
    if (old && old !== this.#track(kind)) this.#drop(old);
    this.emit('change');
  }

  async setMic(on) {
    if (on && !this.mic) await this.open({ audio: true, video: false });
    this.#muted = !on;
    if (this.mic) this.mic.enabled = on;
    this.emit('change');
  }

  async setCamera(on) {
    if (on) await this.open({ audio: false, video: true });
    else if (this.camera) this.#drop(this.camera);
    this.emit('change');
  }

  /** The devices there are, by kind. Their names are empty until one was allowed. */
  async list() {
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    const of = (kind) => all.filter((device) => device.kind === kind && device.deviceId);
    return { audio: of('audioinput'), video: of('videoinput') };
  }

  inUse(kind) {
    return this.#track(kind)?.getSettings().deviceId;
  }

  close() {
    this.#closings += 1;
    for (const track of this.stream.getTracks()) this.#drop(track);
    this.emit('change');
  }

  async #get(wanted) {
    if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error('not in a secure context'), { name: 'InsecureContext' });
    const pick = (kind, usual) => {
      if (!wanted[kind]) return false;
      return this.#chosen[kind] ? { ...usual, deviceId: { exact: this.#chosen[kind] } } : usual;
    };
    const closings = this.#closings;
    this.#opening += 1;
    this.emit('change');
    try {
      const ask = () => navigator.mediaDevices.getUserMedia({ audio: pick('audio', AUDIO), video: pick('video', VIDEO) });
      const got = await ask().catch((error) => {
        if (error.name !== 'OverconstrainedError') throw error;
        // What was chosen earlier is unplugged: any other will do.
        for (const kind of ['audio', 'video']) if (wanted[kind]) this.#chosen[kind] = undefined;
        return ask();
      });
      for (const track of got.getTracks()) {
        if (closings === this.#closings) this.#keep(track);
        else track.stop();
      }
    } finally {
      this.#opening -= 1;
      this.emit('change');
    }
  }

  #keep(track) {
    for (const old of this.stream.getTracks()) if (old.kind === track.kind) this.#drop(old);
    if (track.kind === 'audio') track.enabled = !this.#muted;
    // Unplugged, or taken back by the browser.
    track.addEventListener('ended', () => {
      this.#drop(track);
      this.emit('change');
    });
    this.stream.addTrack(track);
  }

  #drop(track) {
    track.stop();
    this.stream.removeTrack(track);
  }

  #track(kind) {
    return this.stream.getTracks().find((track) => track.kind === kind);
  }
}

/** The camera in `video`, or nothing. An element that waits for a stream's first track would keep the page from being loaded. */
export function showCamera(video, devices) {
  const stream = devices.cameraOn ? devices.stream : null;
  if (video.srcObject !== stream) video.srcObject = stream;
  if (stream) video.play().catch(() => {});
}
