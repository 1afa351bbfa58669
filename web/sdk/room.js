import { CallgateError } from './error.js';
import { Events } from './events.js';
import { Peer } from './peer.js';

const ANSWER = 10_000;
/** An answer that takes longer than this, while media is in trouble too, does not come. */
const PROBE = 2_000;
const STATS = 2_000;
const OUTBOX = 512;
const TRIES = 5;
/** Refresh the credentials when this part of their life is over. */
const REFRESH = 0.8;
const LONGEST_TIMER = 2 ** 31 - 1;
/** After a restart of the server its other members may come back to their places for this long. */
const RESTORED = 60_000;

/**
 * A room one is in. Made by `join`. Events and methods are described in sdk.d.ts.
 *
 * Signaling may come and go: what is to be sent waits in an outbox, the peers' connections are left alone. With the
 * `resume` token the server gives the same place back; if it does not, we join anew and build every connection anew.
 * Events are numbered: on coming back we say which we have, get the rest, and pass over what comes twice.
 *
 * A network that is changed for another leaves a socket behind that looks alive for a long time, and browsers do not
 * always say so: at every sign of trouble the server is asked something, and the socket given up if no answer comes.
 */
export class Room extends Events {
  #socket;
  #options;
  #resume;
  #iceServers = [];
  #refresh;
  #statistics;
  #relayOnly;
  #networkChanged = false;
  #probing = false;
  #shared = {};
  #media;
  #extra = new Set();
  #outbox = [];
  #entering = false;
  #leaves = [];
  /** The number of the last event about our place. */
  #seen = 0;
  /** Timers of those who have not come back after a restart of the server. */
  #missing = new Map();

  constructor(socket, options) {
    super();
    this.#socket = socket;
    this.#options = options;
    this.#relayOnly = Boolean(options.relayOnly);
    this.#media = options.media;
    this.id = options.room;
    this.kind = options.kind;
    this.capacity = undefined;
    this.createdAt = undefined;
    this.self = undefined;
    this.peers = new Map();
    /** Who waits to be let in, by peerId, for those who may let them in. */
    this.waiting = new Map();
    /** connecting | waiting | joined | reconnecting | closed */
    this.state = 'connecting';
    this.closedBecause = undefined;
    this.#listen();
  }

  get socket() {
    return this.#socket;
  }

  get relayOnly() {
    return this.#relayOnly;
  }

  get media() {
    return this.#media;
  }

  // ---- what arrives ----

  #listen() {
    const on = (name, listener) =>
      this.#socket.on(name, (event) => {
        // Its id, or all there is to say of it.
        const room = event?.room?.id ?? event?.room;
        const other = room !== undefined && room !== this.id;
        if (this.state !== 'closed' && !other && this.#isNew(event?.seq)) listener(event ?? {});
      });
    on('connect', () => this.#enter());
    on('disconnect', (reason) => this.#disconnected(reason));
    on('room.peer-joined', ({ peer }) => this.#peerJoined(peer, { offers: false }));
    on('room.peer-left', ({ peerId, reason }) => this.#peerLeft(peerId, reason));
    on('room.peer-away', ({ peerId }) => this.#withPeer(peerId, (peer) => this.#setAway(peer, true)));
    on('room.peer-reconnected', ({ peerId, peer: info }) => {
      if (this.peers.has(peerId)) this.#withPeer(peerId, (peer) => this.#setAway(peer, false));
      else this.#peerJoined(info, { offers: false });
    });
    on('room.peer-waiting', ({ peer }) => {
      this.waiting.set(peer.peerId, peer);
      this.emit('peer-waiting', { peer });
    });
    on('room.peer-not-waiting', ({ peerId }) => {
      const peer = this.waiting.get(peerId);
      if (this.waiting.delete(peerId)) this.emit('peer-not-waiting', { peer });
    });
    on('room.admitted', (ack) => this.#entered(ack));
    on('room.denied', () => this.#end('denied'));
    on('room.changed', ({ self, state }) => {
      this.self = self ?? this.self;
      this.locked = Boolean(state?.locked);
      this.lobby = Boolean(state?.lobby);
      this.emit('changed', { self: this.self, locked: this.locked, lobby: this.lobby });
    });
    on('signal', ({ from, kind, data }) => this.#withPeer(from, (peer) => peer.receive(kind, data)));
    on('chat', (message) => this.emit('chat', { ...message, own: false }));
    on('ice.servers', (fresh) => this.#takeIce(fresh));
    on('room.timeout', () => this.#end('timeout'));
    on('room.closed', ({ reason }) => this.#end(reason ?? 'closed'));
    on('server.draining', (event) => this.emit('draining', event));
    on('error', (error) => this.emit('error', CallgateError.from(error, error.command)));
    this.#onPage(globalThis.window, 'pagehide', ({ persisted }) => persisted || this.#leaveNow());
    this.#onPage(globalThis.window, 'online', () => {
      this.#networkChanged = true;
      if (this.state === 'joined') this.#mend();
      this.#probe();
    });
    // Chromium's also tells of estimates that changed: no reason to restart anything by itself.
    this.#onPage(globalThis.navigator?.connection, 'change', () => this.#probe());
    this.#onPage(globalThis.document, 'visibilitychange', () => document.visibilityState === 'visible' && this.#probe());
  }

  #onPage(target, name, listener) {
    if (!target?.addEventListener) return;
    target.addEventListener(name, listener);
    this.#leaves.push(() => target.removeEventListener(name, listener));
  }

  /** Whether an event was not heard before. Those about our place are numbered. */
  #isNew(seq) {
    if (!Number.isInteger(seq)) return true;
    if (seq <= this.#seen) return false;
    this.#seen = seq;
    return true;
  }

  // ---- joining, and joining again ----

  #enter() {
    if (this.#entering) return;
    this.#entering = true;
    const { room, kind, name, userId, password } = this.#options;
    const resume = this.#resume;
    const have = resume && this.#seen;
    this.#socket.timeout(ANSWER).emit('room.join', { room, kind, name, userId, password, resume, have }, (late, ack) => {
      this.#entering = false;
      if (this.state === 'closed') return;
      // Without an answer the connection is of no use: the next one begins anew.
      if (late) return this.#socket.connected && this.#reconnect();
      if (ack?.ok && ack.waiting) return this.#waits();
      if (ack?.ok) return this.#entered(ack);
      const error = CallgateError.from(ack?.error, 'room.join');
      if (error.code === 'too-many-requests' && this.self) {
        setTimeout(() => this.#socket.connected && this.#enter(), (error.retryAfter ?? 1) * 1000);
      } else if (resume) {
        this.#resume = undefined;
        this.#enter();
      } else this.#end(error.code, error);
    });
  }

  #waits() {
    if (this.self) this.#forgetPeers();
    this.self = undefined;
    this.#seen = 0;
    this.#setState('waiting', {});
  }

  #entered(ack) {
    const again = this.self !== undefined;
    const same = again && ack.resumed === true && ack.self.peerId === this.self.peerId;
    if (again && !same) this.#forgetPeers();
    // Another process counts anew.
    if (!same || ack.restored) this.#seen = 0;
    this.waiting.clear();
    this.locked = Boolean(ack.room.locked);
    this.lobby = Boolean(ack.room.lobby);
    this.id = ack.room.id;
    this.kind = ack.room.kind;
    this.capacity = ack.room.capacity;
    this.createdAt = ack.room.createdAt;
    this.self = ack.self;
    this.#resume = ack.resume;
    this.#takeIce(ack);
    this.#setState('joined', { resumed: same, missed: ack.missed });
    const listed = new Set(ack.peers.map((peer) => peer.peerId));
    for (const [id, peer] of [...this.peers]) {
      if (listed.has(id)) continue;
      // The server has begun anew, and knows only those who are back already.
      if (ack.restored) this.#miss(peer);
      else this.#peerLeft(id, 'lost');
    }
    // On the first join nobody listens yet: the app finds these in `peers`. Whoever comes offers; after a
    // resume a new one is the newcomer.
    for (const peer of ack.peers) {
      this.#withPeer(peer.peerId, (known) => known.away !== Boolean(peer.away) && this.#setAway(known, Boolean(peer.away)));
      this.#peerJoined(peer, { offers: !same });
    }
    this.#flush();
    this.#mend();
    this.#statistics ??= setInterval(() => this.#sample(), STATS);
  }

  /** Its media may go on: it is kept until it comes back, or can no more. */
  #miss(peer) {
    this.#setAway(peer, true);
    clearTimeout(this.#missing.get(peer.peerId));
    this.#missing.set(peer.peerId, setTimeout(() => this.#peerLeft(peer.peerId, 'lost'), RESTORED));
  }

  #found(peerId) {
    clearTimeout(this.#missing.get(peerId));
    this.#missing.delete(peerId);
  }

  #mend() {
    for (const peer of this.peers.values()) {
      if (this.#networkChanged) peer.restartIce();
      else peer.mend();
    }
    this.#networkChanged = false;
  }

  /** Asks for something useful, just to see whether an answer comes; gives the socket up if not. */
  #probe() {
    if (this.#probing || this.state !== 'joined' || !this.#socket.connected) return;
    this.#probing = true;
    this.#socket.timeout(PROBE).emit('ice.refresh', { room: this.id }, (late, ack) => {
      this.#probing = false;
      if (this.state !== 'joined') return;
      if (ack?.ok) this.#takeIce(ack);
      else if (late && this.#socket.connected) this.#reconnect();
    });
  }

  #disconnected(reason) {
    if (reason === 'io client disconnect') return;
    this.#entering = false;
    if (this.self) this.#setState('reconnecting', {});
    // socket.io comes back by itself, but not when the server ended it.
    if (reason === 'io server disconnect') setTimeout(() => this.state !== 'closed' && this.#socket.connect(), 1_000);
  }

  #reconnect() {
    if (this.self) this.#setState('reconnecting', {});
    // Not `disconnect`: that would be leaving, and the place would be gone. It comes back by itself.
    const { engine } = this.#socket.io;
    engine.close();
    // It waits for what is still to be sent, which on a dead network is for ever.
    if (engine.readyState === 'closing') engine.transport.close();
  }

  // ---- peers ----

  #peerJoined(info, { offers }) {
    if (!info?.peerId || info.peerId === this.self?.peerId || this.peers.has(info.peerId)) return;
    const { peerId } = info;
    const peer = new Peer(
      info,
      {
        signal: (kind, data) => this.#post('signal', { to: peerId, kind, data }),
        emit: (name, event) => this.emit(name, event),
        trouble: () => this.#probe(),
        configuration: () => this.#configuration(),
        media: () => this.#media,
        extra: () => this.#extra,
        state: () => this.#shared,
        joined: () => this.state === 'joined',
        data: this.#options.data !== false,
        receive: this.#options.receive !== false,
      },
      { offers },
    );
    this.peers.set(peerId, peer);
    this.emit('peer-joined', { peer, here: offers });
  }

  #peerLeft(peerId, reason) {
    this.#withPeer(peerId, (peer) => {
      this.peers.delete(peerId);
      this.#found(peerId);
      peer.close();
      this.#outbox = this.#outbox.filter((item) => item.body.to !== peerId);
      this.emit('peer-left', { peer, reason });
    });
  }

  #setAway(peer, away) {
    const changed = peer.away !== away;
    peer.away = away;
    if (!away) this.#found(peer.peerId);
    if (changed) this.emit(away ? 'peer-away' : 'peer-back', { peer });
    // It may be on another connection though nobody knew that it had lost the old one.
    if (!away) peer.mend();
  }

  #withPeer(peerId, action) {
    const peer = this.peers.get(peerId);
    if (peer) action(peer);
  }

  #forgetPeers() {
    this.#outbox = this.#outbox.filter((item) => item.event !== 'signal');
    for (const id of [...this.peers.keys()]) this.#peerLeft(id, 'rejoined');
  }

  // ---- credentials ----

  #configuration() {
    return {
      iceServers: this.#iceServers,
      iceTransportPolicy: this.#relayOnly ? 'relay' : 'all',
      bundlePolicy: 'max-bundle',
    };
  }

  #takeIce({ iceServers, iceTtl }) {
    if (!Array.isArray(iceServers)) return;
    this.#iceServers = iceServers;
    for (const peer of this.peers.values()) peer.configure();
    clearTimeout(this.#refresh);
    if (iceTtl > 0) {
      const wait = Math.min(Math.max(iceTtl * REFRESH, 5) * 1000, LONGEST_TIMER);
      this.#refresh = setTimeout(() => this.#post('ice.refresh', {}).then((ack) => this.#takeIce(ack), () => {}), wait);
    }
  }

  // ---- what goes out ----

  /** Sends once we are in the room; resolves to the server's acknowledgement, rejects with a CallgateError. */
  #post(event, body) {
    const done = new Promise((resolve, reject) => {
      const item = { event, body: { room: this.id, ...body }, tries: 0, resolve, reject };
      if (this.state === 'closed') return reject(new CallgateError('closed', 'the room is closed'));
      if (this.state === 'joined') return this.#send(item);
      this.#outbox.push(item);
      if (this.#outbox.length > OUTBOX) this.#outbox.shift().reject(new CallgateError('closed', 'too much is waiting'));
    });
    // A signal that failed was told by the "error" event already.
    done.catch(() => {});
    return done;
  }

  #flush() {
    for (const item of this.#outbox.splice(0)) this.#send(item);
  }

  #send(item) {
    item.tries += 1;
    this.#socket.timeout(ANSWER).emit(item.event, item.body, (late, ack) => {
      if (this.state === 'closed') return item.reject(new CallgateError('closed', 'the room is closed'));
      if (!late && ack?.ok) return item.resolve(ack);
      const error = late ? new CallgateError('timeout', 'no answer', { command: item.event }) : CallgateError.from(ack?.error, item.event);
      const again = item.tries < TRIES;
      // A signal that comes twice does no harm, and a chat line is known by its clientId.
      const repeatable = this.state !== 'joined' || item.event === 'signal' || item.body.clientId;
      if (late && again && repeatable) this.#later(item);
      else if (error.code === 'too-many-requests' && again) setTimeout(() => this.#later(item), (error.retryAfter ?? 1) * 1000);
      else {
        item.reject(error);
        // The receiver left while it was on its way.
        if (item.event === 'signal' && error.code !== 'no-such-peer') this.emit('error', error);
      }
    });
  }

  #later(item) {
    if (this.state === 'joined') this.#send(item);
    else if (this.state === 'reconnecting') this.#outbox.push(item);
    else item.reject(new CallgateError('closed', 'the room is closed'));
  }

  // ---- for the app ----

  send(data, peerId) {
    const to = peerId === undefined ? [...this.peers.values()] : [this.peers.get(peerId)].filter(Boolean);
    return to.filter((peer) => peer.send(data)).length;
  }

  async chat(text) {
    const clientId = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`;
    const { id, createdAt } = await this.#post('chat', { text, clientId });
    return { from: this.self.peerId, name: this.self.name, text, id, createdAt, own: true };
  }

  async admit(peerId, admit = true) {
    await this.#post('room.admit', { peerId, admit });
  }

  async lock({ locked, lobby } = {}) {
    await this.#post('room.lock', { locked, lobby });
  }

  async kick(peerId, { ban = false } = {}) {
    await this.#post('room.kick', { peerId, ban });
  }

  setState(state) {
    this.#shared = { ...this.#shared, ...state };
    for (const peer of this.peers.values()) peer.shareState();
  }

  async replaceTrack(kind, track) {
    this.#media ??= new MediaStream();
    for (const old of this.#media.getTracks()) if (old.kind === kind && old !== track) this.#media.removeTrack(old);
    if (track && !this.#media.getTracks().includes(track)) this.#media.addTrack(track);
    await Promise.all([...this.peers.values()].map((peer) => peer.replaceTrack(kind, track, this.#media)));
  }

  addStream(stream) {
    this.#extra.add(stream);
    for (const peer of this.peers.values()) peer.addStream(stream);
  }

  removeStream(stream) {
    this.#extra.delete(stream);
    for (const peer of this.peers.values()) peer.removeStream(stream);
  }

  setRelayOnly(on) {
    if (this.#relayOnly === Boolean(on)) return;
    this.#relayOnly = Boolean(on);
    // A restart would leave the direct path in use as long as it works (seen in Chromium 156), and the address known.
    for (const peer of this.peers.values()) {
      if (this.#relayOnly) peer.renew();
      else peer.restartIce();
    }
  }

  restartIce(peerId) {
    for (const peer of this.peers.values()) if (peerId === undefined || peer.peerId === peerId) peer.restartIce();
  }

  async connectionInfo(peerId) {
    return this.peers.get(peerId)?.path();
  }

  async getStats(peerId) {
    return this.peers.get(peerId)?.pc.getStats();
  }

  async ping(peerId) {
    const peer = this.peers.get(peerId);
    if (!peer) throw new CallgateError('no-such-peer', 'nobody of that id is here');
    return peer.ping();
  }

  async leave() {
    if (this.state === 'closed') return;
    const told = this.state === 'joined' && this.#socket.timeout(1_000).emitWithAck('room.leave', { room: this.id });
    this.#end('left', undefined, { keepSocket: true });
    if (told) await told.catch(() => {});
    this.#socket.disconnect();
  }

  // ---- the end ----

  #leaveNow() {
    if (this.state === 'joined') this.#socket.emit('room.leave', { room: this.id }, () => {});
    this.#end('left');
  }

  async #sample() {
    if (!this.hasListeners('stats')) return;
    for (const peer of this.peers.values()) {
      const info = await peer.path().catch(() => undefined);
      if (info && this.peers.has(peer.peerId)) this.emit('stats', { peer, ...info });
    }
  }

  #setState(state, detail) {
    if (this.state === state) return;
    this.state = state;
    this.emit('state', { state, ...detail });
  }

  #end(reason, error, { keepSocket = false } = {}) {
    if (this.state === 'closed') return;
    clearTimeout(this.#refresh);
    clearInterval(this.#statistics);
    this.#leaves.splice(0).forEach((leave) => leave());
    for (const timer of this.#missing.values()) clearTimeout(timer);
    for (const peer of this.peers.values()) peer.close();
    this.peers.clear();
    this.closedBecause = reason;
    this.#setState('closed', { reason, error });
    for (const item of this.#outbox.splice(0)) item.reject(new CallgateError('closed', 'the room is closed'));
    this.emit('closed', { reason, error });
    if (!keepSocket) this.#socket.disconnect();
  }

  /** The join was given up before it came about. */
  abandon(error) {
    this.#end(error.code, error);
  }
}
