import { pathOf } from './path.js';

// Both ends open these two channels under the same number, so no announcement travels.
const DATA = 0;
const CONTROL = 1;

const CANDIDATES_KEPT = 256;
/** Milliseconds from one ICE restart to the next while the connection does not come back; the last repeats. */
const RESTARTS = [0, 2_000, 4_000, 8_000, 15_000];
/** After this many in vain, the connection is thrown away and built anew. */
const RESTARTS_TRIED = 4;
/** "disconnected" often heals by itself: this long we wait. */
const HEALING = 2_000;
/** What both sides have just agreed on gets this long to come about before it is restarted once more. */
const SETTLING = 3_000;
/** The newcomer offers. If it has not after this long, we do. */
const NEWCOMER = 2_500;
const ANSWER = 8_000;
const PING = 5_000;

/**
 * One other member of the room and the connection to it: perfect negotiation (W3C webrtc-pc, 10.7), candidates that
 * wait for their description, ICE restarts with back-off.
 *
 * Descriptions and candidates carry `session`, the number of the sender's connection, and `for`, the receiver's: so
 * either side may throw its connection away and offer another. Clients that know nothing of it send neither.
 *
 * `room` is what a peer needs of its room: `signal(kind, data)`, `emit(name, event)`, `configuration()`, `media()`,
 * `extra()`, `state()`, `joined()`, `trouble()`, `data`, `receive`.
 */
export class Peer {
  #room;
  #makingOffer = false;
  #ignoredOffer = false;
  #answerPending = false;
  /** Which of our connections this is, and which of theirs it talks to: counted up when one is built anew. */
  #session = 0;
  #theirs;
  /** Settles `#replaced`: what a closed connection was asked for never comes about. */
  #replace = () => {};
  #replaced;
  #incoming = Promise.resolve();
  #candidates = [];
  #control;
  #data;
  #pings = new Map();
  #pingNumber = 0;
  #restarts = 0;
  /** When the two sides last agreed on anything. */
  #agreed = -Infinity;
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
    this.away = Boolean(info.away);
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
    this.#session += 1;
    this.#makingOffer = false;
    this.#answerPending = false;
    this.#replaced = new Promise((resolve) => (this.#replace = resolve));
    this.#listen();
    this.#open();
    this.#addMedia(offers);
    for (const stream of this.#room.extra()) this.addStream(stream);
  }

  /** Closes the connection and opens another. The other side does the same when it sees our offer's session. */
  #renew(offers) {
    this.pc.close();
    this.#replace();
    this.#candidates = [];
    const streams = [...this.streams.values()];
    this.streams.clear();
    this.#create(offers);
    for (const stream of streams) this.#tell('stream-removed', { stream });
    this.#tell('connection', { state: this.connection });
  }

  /** Builds the connection anew, for what an ICE restart cannot bring about. Media pauses for a moment. */
  renew() {
    if (this.#closed) return;
    clearTimeout(this.#timers.newcomer);
    this.#timers.newcomer = undefined;
    this.#renew(true);
  }

  #listen() {
    const { pc } = this;
    const on = (name, listener) => pc.addEventListener(name, (event) => pc === this.pc && listener(event));
    on('negotiationneeded', () => {
      if (!this.#timers.newcomer) this.#negotiate();
    });
    on('icecandidate', ({ candidate }) => {
      if (candidate) this.#room.signal('candidate', { ...candidate.toJSON(), session: this.#session });
    });
    on('iceconnectionstatechange', () => this.#iceChanged());
    on('connectionstatechange', () => {
      this.#tell('connection', { state: pc.connectionState });
      // ICE is well, so it is DTLS that failed: no restart mends that.
      if (pc.connectionState === 'failed' && this.healthy && !this.polite) this.renew();
    });
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
    // A first offer is for whatever connection there is; everything later for the very one it was agreed with.
    this.#room.signal(type, { type, sdp, session: this.#session, for: this.pc.remoteDescription ? this.#theirs : undefined });
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
    if (kind === 'offer' || kind === 'answer') await this.#takeDescription({ ...data, type: kind, sdp: data.sdp ?? data });
    if (kind === 'candidate') await this.#takeCandidate(data);
  }

  async #takeDescription({ type, sdp, session, for: meant }) {
    // For a connection that is gone; what replaced it is on its way to them.
    if (meant !== undefined && meant !== this.#session) return;
    const first = !this.pc.remoteDescription;
    const renewed = type === 'offer' && !first && session !== this.#theirs;
    const stable = !this.#makingOffer && (this.pc.signalingState === 'stable' || this.#answerPending);
    const collision = type === 'offer' && !stable;
    // Against a new connection of theirs, an offer about the old one counts nothing.
    this.#ignoredOffer = collision && !this.polite && !renewed;
    if (this.#ignoredOffer) return;
    // An answer that came twice.
    if (type === 'answer' && this.pc.signalingState === 'stable') return;
    clearTimeout(this.#timers.newcomer);
    this.#timers.newcomer = undefined;
    // Both began at once: a very first offer is not rolled back but its connection thrown away, since Chromium (seen in
    // 156) may never gather again after such a rollback.
    if (renewed || (collision && first)) this.#renew(false);
    const { pc } = this;
    this.#theirs = session;
    this.#answerPending = type === 'answer';
    try {
      await Promise.race([pc.setRemoteDescription({ type, sdp }), this.#replaced]);
    } finally {
      if (pc === this.pc) this.#answerPending = false;
    }
    this.#agreed = performance.now();
    for (const candidate of pc === this.pc ? this.#candidates.splice(0) : []) await this.#addCandidate(candidate);
    if (type !== 'offer' || pc !== this.pc) return;
    await Promise.race([pc.setLocalDescription(), this.#replaced]);
    if (pc === this.pc) this.#sendDescription();
  }

  async #takeCandidate({ session, ...candidate }) {
    if (this.pc.remoteDescription) {
      if (session === this.#theirs) await this.#addCandidate(candidate);
    } else if (this.#candidates.length < CANDIDATES_KEPT) this.#candidates.push(candidate);
  }

  async #addCandidate(candidate) {
    try {
      await Promise.race([this.pc.addIceCandidate(candidate), this.#replaced]);
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
      return;
    }
    if (state === 'disconnected') this.#restartIn(HEALING);
    else if (state === 'failed') this.#restartIn(0);
    else return;
    this.#room.trouble();
  }

  /** Restarts after `delay`, and again with growing pauses until the connection is back. */
  #restartIn(delay) {
    if (this.#timers.restart || this.#closed) return;
    const pause = Math.max(delay, RESTARTS[Math.min(this.#restarts, RESTARTS.length - 1)]);
    // Both sides notice at the same time: the polite one lets the other begin.
    this.#timers.restart = setTimeout(() => {
      this.#timers.restart = undefined;
      if (this.healthy || this.#closed) return;
      const settling = SETTLING - (performance.now() - this.#agreed);
      if (settling > 0) return this.#restartIn(settling);
      this.#restarts += 1;
      if (this.#room.joined() && !this.away) {
        if (this.#restarts > RESTARTS_TRIED && !this.polite) this.renew();
        // A restart on top of one that has no answer yet would be a second one after the answer.
        else if (this.pc.signalingState === 'have-local-offer') this.#sendDescription();
        else this.restartIce();
      }
      this.#restartIn(0);
    }, pause + (this.polite ? 700 : 0));
  }

  /** After signaling came back, or the other side did: what broke meanwhile is mended. */
  mend() {
    if (this.#closed) return;
    // It, or its answer, may have gone down with the other connection.
    const pending = this.pc.signalingState === 'have-local-offer';
    if (pending) this.#sendDescription();
    if (this.healthy || ['new', 'checking'].includes(this.pc.iceConnectionState)) return;
    this.#restarts = 0;
    clearTimeout(this.#timers.restart);
    this.#timers.restart = undefined;
    this.#restartIn(pending ? HEALING : 0);
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
    this.#replace();
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.pc.close();
  }
}
