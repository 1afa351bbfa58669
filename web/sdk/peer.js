import { pathOf } from './path.js';

// Both ends open these two channels under the same number, so no announcement travels.
const DATA = 0;
const CONTROL = 1;

const CANDIDATES_KEPT = 256;
/** Milliseconds from one ICE restart to the next while the connection does not come back; the last repeats. */
const RESTARTS = [0, 2_000, 4_000, 8_000, 15_000];
/** "disconnected" often heals by itself: this long we wait. */
const HEALING = 2_500;
/** The newcomer offers. If it has not after this long, we do. */
const NEWCOMER = 2_500;
const ANSWER = 8_000;
const PING = 5_000;

/**
 * One other member of the room and the connection to it: perfect negotiation (W3C webrtc-pc, 10.7), candidates that
 * wait for their description, ICE restarts with back-off.
 *
 * `room` is what a peer needs of its room: `signal(kind, data)`, `emit(name, event)`, `configuration()`, `media()`,
 * `extra()`, `state()`, `joined()`, `data`, `receive`.
 */
export class Peer {
  #room;
  #makingOffer = false;
  #ignoredOffer = false;
  #answerPending = false;
  #incoming = Promise.resolve();
  #candidates = [];
  #control;
  #data;
  #pings = new Map();
  #pingNumber = 0;
  #restarts = 0;
  #timers = { restart: undefined, newcomer: undefined, answer: undefined };
  #closed = false;

  constructor(info, room, { offers }) {
    this.#room = room;
    this.peerId = info.peerId;
    this.userId = info.userId;
    this.name = info.name;
    this.polite = Boolean(info.polite);
    /** What the other side shared with `room.setState`. */
    this.state = {};
    /** True while the other side has lost its signaling connection; media may well go on. */
    this.away = false;
    /** The other side's streams by id. */
    this.streams = new Map();
    this.#create(offers);
    if (!offers) {
      this.#timers.newcomer = setTimeout(() => {
        this.#timers.newcomer = undefined;
        if (!this.pc.remoteDescription) this.#negotiate();
      }, NEWCOMER);
    }
  }

  /** RTCPeerConnectionState. */
  get connection() {
    return this.pc.connectionState;
  }

  get healthy() {
    return ['connected', 'completed'].includes(this.pc.iceConnectionState);
  }

  /** The channel for the app's data; undefined if the room was joined with `data: false`. */
  get channel() {
    return this.#data;
  }

  #create(offers) {
    this.pc = new RTCPeerConnection(this.#room.configuration());
    this.senders = {};
    this.#makingOffer = false;
    this.#listen();
    this.#open();
    this.#addMedia(offers);
    for (const stream of this.#room.extra()) this.addStream(stream);
  }

  #listen() {
    const { pc } = this;
    const on = (name, listener) => pc.addEventListener(name, (event) => pc === this.pc && listener(event));
    on('negotiationneeded', () => {
      if (!this.#timers.newcomer) this.#negotiate();
    });
    on('icecandidate', ({ candidate }) => {
      if (candidate) this.#room.signal('candidate', candidate.toJSON());
    });
    on('iceconnectionstatechange', () => this.#iceChanged());
    on('connectionstatechange', () => this.#tell('connection', { state: pc.connectionState }));
    on('track', ({ track, streams, transceiver }) => {
      const stream = streams[0] ?? new MediaStream([track]);
      const fresh = !this.streams.has(stream.id);
      this.streams.set(stream.id, stream);
      this.#tell('track', { track, stream, transceiver });
      if (!fresh) return;
      stream.addEventListener('removetrack', () => {
        if (stream.getTracks().length > 0) return;
        this.streams.delete(stream.id);
        this.#tell('stream-removed', { stream });
      });
      this.#tell('stream', { stream });
    });
  }

  #open() {
    this.#control = this.pc.createDataChannel('callgate', { negotiated: true, id: CONTROL });
    this.#control.addEventListener('open', () => this.shareState());
    this.#control.addEventListener('message', ({ data }) => this.#controlled(data));
    if (!this.#room.data) return;
    this.#data = this.pc.createDataChannel('data', { negotiated: true, id: DATA });
    this.#data.binaryType = 'arraybuffer';
    this.#data.addEventListener('open', () => this.#tell('data-open', {}));
    this.#data.addEventListener('close', () => this.#tell('data-closed', {}));
    this.#data.addEventListener('message', ({ data }) => this.#tell('data', { data }));
  }

  #addMedia(offers) {
    const media = this.#room.media();
    for (const track of media?.getTracks() ?? []) this.senders[track.kind] ??= this.pc.addTrack(track, media);
    // Room for the other side's media in our first offer: one exchange instead of two.
    if (offers && this.#room.receive) {
      for (const kind of ['audio', 'video']) {
        if (!this.senders[kind]) this.pc.addTransceiver(kind, { direction: 'recvonly' });
      }
    }
  }

  /** Sends `track` from now on in place of the one of its kind; null sends nothing. */
  async replaceTrack(kind, track, stream) {
    const sender = this.senders[kind];
    if (sender) await sender.replaceTrack(track);
    else if (track) this.senders[kind] = this.pc.addTrack(track, stream);
  }

  addStream(stream) {
    for (const track of stream.getTracks()) {
      if (!this.pc.getSenders().some((sender) => sender.track === track)) this.pc.addTrack(track, stream);
    }
  }

  removeStream(stream) {
    for (const sender of this.pc.getSenders()) {
      if (!sender.track || !stream.getTracks().includes(sender.track)) continue;
      this.pc.removeTrack(sender);
      for (const kind of Object.keys(this.senders)) if (this.senders[kind] === sender) delete this.senders[kind];
    }
  }

  async #negotiate() {
    // In the midst of an exchange there is nothing to begin; the event comes again after it.
    if (this.#closed || this.#makingOffer || this.pc.signalingState !== 'stable') return;
    const { pc } = this;
    this.#makingOffer = true;
    try {
      await pc.setLocalDescription();
      if (pc === this.pc) this.#sendDescription();
    } catch (error) {
      if (pc === this.pc) this.#failed(error);
    } finally {
      if (pc === this.pc) this.#makingOffer = false;
    }
  }

  #sendDescription() {
    if (this.#closed || !this.pc.localDescription) return;
    const { type, sdp } = this.pc.localDescription;
    this.#room.signal(type, { type, sdp });
    clearTimeout(this.#timers.answer);
    // An offer or its answer may get lost with the other side's connection: the same offer again does no harm.
    const again = () => {
      if (this.pc.signalingState !== 'have-local-offer') return;
      if (this.#room.joined() && !this.away) this.#sendDescription();
      else this.#timers.answer = setTimeout(again, ANSWER);
    };
    if (type === 'offer') this.#timers.answer = setTimeout(again, ANSWER);
  }

  /** Takes what the other side signaled; one after the other, in the order of arrival. */
  receive(kind, data) {
    this.#incoming = this.#incoming
      .then(() => this.#take(kind, data))
      .catch((error) => this.#failed(error));
  }

  async #take(kind, data) {
    if (this.#closed || !data) return;
    if (kind === 'offer' || kind === 'answer') await this.#takeDescription({ type: kind, sdp: data.sdp ?? data });
    if (kind === 'candidate') await this.#takeCandidate(data);
  }

  async #takeDescription(description) {
    let { pc } = this;
    const stable = !this.#makingOffer && (pc.signalingState === 'stable' || this.#answerPending);
    const collision = description.type === 'offer' && !stable;
    this.#ignoredOffer = !this.polite && collision;
    if (this.#ignoredOffer) return;
    // An answer that came twice.
    if (description.type === 'answer' && pc.signalingState === 'stable') return;
    clearTimeout(this.#timers.newcomer);
    this.#timers.newcomer = undefined;
    if (collision && !pc.remoteDescription) {
      // Both began at once. A very first offer is not rolled back but its connection thrown away: Chromium (seen in
      // 156) may never gather again after such a rollback.
      pc.close();
      this.#create(false);
      pc = this.pc;
    }
    this.#answerPending = description.type === 'answer';
    try {
      await pc.setRemoteDescription(description);
    } finally {
      this.#answerPending = false;
    }
    for (const candidate of this.#candidates.splice(0)) await this.#addCandidate(candidate);
    if (description.type === 'offer') {
      await pc.setLocalDescription();
      this.#sendDescription();
    }
  }

  async #takeCandidate(candidate) {
    if (this.pc.remoteDescription) return this.#addCandidate(candidate);
    if (this.#candidates.length < CANDIDATES_KEPT) this.#candidates.push(candidate);
  }

  async #addCandidate(candidate) {
    try {
      await this.pc.addIceCandidate(candidate);
    } catch (error) {
      // One that belongs to an offer we passed over, or to an ICE generation that is gone, is no loss.
      if (!this.#ignoredOffer && error.name !== 'OperationError') throw error;
    }
  }

  #iceChanged() {
    const state = this.pc.iceConnectionState;
    this.#tell('ice', { state });
    if (this.healthy) {
      this.#restarts = 0;
      clearTimeout(this.#timers.restart);
      this.#timers.restart = undefined;
    } else if (state === 'disconnected') this.#restartIn(HEALING);
    else if (state === 'failed') this.#restartIn(0);
  }

  /** Restarts after `delay`, and again with growing pauses until the connection is back. */
  #restartIn(delay) {
    if (this.#timers.restart || this.#closed) return;
    const pause = Math.max(delay, RESTARTS[Math.min(this.#restarts, RESTARTS.length - 1)]);
    // Both sides notice at the same time: the polite one lets the other begin.
    this.#timers.restart = setTimeout(() => {
      this.#timers.restart = undefined;
      if (this.healthy || this.#closed) return;
      this.#restarts += 1;
      if (this.#room.joined() && !this.away) this.restartIce();
      this.#restartIn(0);
    }, pause + (this.polite ? 700 : 0));
  }

  /** After signaling came back, or the other side did: what broke meanwhile is mended. */
  mend() {
    if (this.healthy || ['new', 'checking'].includes(this.pc.iceConnectionState)) return;
    this.#restarts = 0;
    clearTimeout(this.#timers.restart);
    this.#timers.restart = undefined;
    this.#restartIn(0);
  }

  /** Gathers anew, with the configuration the room has now. */
  restartIce() {
    if (this.#closed) return;
    this.configure();
    this.pc.restartIce();
  }

  /** Hands the room's ICE servers and policy to the connection; they count from the next gathering on. */
  configure() {
    if (this.#closed) return;
    try {
      this.pc.setConfiguration(this.#room.configuration());
    } catch (error) {
      this.#failed(error);
    }
  }

  /** How the call is connected just now; undefined before it is. */
  async path() {
    return this.#closed ? undefined : pathOf(await this.pc.getStats());
  }

  /** Hands `data` to the app's channel; false if it is not open. Throws TypeError if it is too large. */
  send(data) {
    if (this.#data?.readyState !== 'open') return false;
    this.#data.send(data);
    return true;
  }

  /** Tells the other side what `room.setState` said last. */
  shareState() {
    this.#say({ t: 'state', state: this.#room.state() });
  }

  /** Round trip over the data channel, ms. Rejects after five seconds, and while the channel is not open. */
  ping() {
    return new Promise((resolve, reject) => {
      const n = ++this.#pingNumber;
      if (!this.#say({ t: 'ping', n })) return reject(new Error('the channel is not open'));
      const late = setTimeout(() => {
        this.#pings.delete(n);
        reject(new Error('no answer'));
      }, PING);
      const begun = performance.now();
      this.#pings.set(n, () => {
        clearTimeout(late);
        resolve(performance.now() - begun);
      });
    });
  }

  #say(message) {
    if (this.#control.readyState !== 'open') return false;
    this.#control.send(JSON.stringify(message));
    return true;
  }

  #controlled(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message?.t === 'ping') this.#say({ t: 'pong', n: message.n });
    else if (message?.t === 'pong') {
      this.#pings.get(message.n)?.();
      this.#pings.delete(message.n);
    } else if (message?.t === 'state' && message.state && typeof message.state === 'object') {
      this.state = message.state;
      this.#tell('peer-state', { state: this.state });
    }
  }

  #tell(name, event) {
    if (!this.#closed) this.#room.emit(name, { peer: this, ...event });
  }

  #failed(error) {
    this.#tell('peer-error', { error });
  }

  close() {
    this.#closed = true;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.pc.close();
  }
}
