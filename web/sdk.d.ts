// Types of callgate's browser SDK (/sdk.js).

/** W3C MediaStream and friends come from TypeScript's DOM library. */
export interface JoinOptions {
  /** The server's origin. Default: the one this module came from. */
  url?: string;
  /** Where its socket.io answers. Default: "/socket.io/". */
  path?: string;
  /** 1 to 64 of `A-Z a-z 0-9 _ -`. The room is made if it is not there. */
  room: string;
  /** room: any number of people up to the server's capacity. call: two, over when one leaves. Default: "room". */
  kind?: 'room' | 'call';
  /** Shown to the others. */
  name?: string;
  /** A label of yours for this user. */
  userId?: string;
  /** Of a room that has one. */
  password?: string;
  /** Called when one has to wait until somebody lets one in. `join` resolves then, or rejects with `denied`. */
  onWaiting?: () => void;
  /** What to send. One audio and one video track at most; `room.addStream` adds more. */
  media?: MediaStream;
  /** Go through the relay only, so that the others never see this browser's address. Default: false. */
  relayOnly?: boolean;
  /** Have a data channel for `send`. Default: true. */
  data?: boolean;
  /** Be ready to receive audio and video from the first offer on. Default: true. */
  receive?: boolean;
  /** Give up joining after this many ms. Default: 15000. */
  timeout?: number;
  /**
   * The user's token, where the server wants one (`auth.mode = "jwt"`), or a function that gets one from your back end: it is
   * asked for each connection, and for a fresh one in good time before the last one ends.
   */
  token?: string | (() => string | Promise<string>);
  /** Added to socket.io's `auth`. */
  auth?: Record<string, unknown>;
  /** Your own socket.io client's `io`, instead of the one shipped with this module. */
  io?: (url: string, options: any) => any;
}

/** Joins a room. Rejects with a CallgateError if the server says no, or does not answer in time. */
export function join(options: JoinOptions): Promise<Room>;

/**
 * The server's stable codes, and this module's own: unreachable, timeout, closed, denied. Later servers may have more.
 */
export type ErrorCode =
  | 'bad-request' | 'unknown-event' | 'not-a-member' | 'no-such-room' | 'room-full' | 'room-closed' | 'too-large'
  | 'too-many-requests' | 'already-joined' | 'resume-failed' | 'no-such-peer' | 'banned' | 'private-room' | 'password-required'
  | 'wrong-password' | 'room-locked' | 'forbidden' | 'not-stored' | 'unauthorized' | 'token-expired' | 'internal'
  | 'unreachable' | 'timeout' | 'closed' | 'denied'
  | (string & {});

export class CallgateError extends Error {
  readonly code: ErrorCode;
  /** Seconds until it is worth trying again, if the server said so. */
  readonly retryAfter?: number;
  /** The verb that failed. */
  readonly command?: string;
}

export interface Self {
  readonly peerId: string;
  readonly userId?: string;
  readonly name?: string;
  /** What one may do here; nothing special if it is left out. */
  readonly rank?: 'moderator' | 'creator';
}

/** Another member of the room, and the connection to it. */
export interface Peer extends Self {
  /** Whether this side yields when both offer at once. The server decides. */
  readonly polite: boolean;
  /** True while the other side has lost its signaling connection; media may go on all the same. */
  readonly away: boolean;
  /** What the other side shared with `setState`. */
  readonly state: Readonly<Record<string, unknown>>;
  /** Its streams by id. */
  readonly streams: ReadonlyMap<string, MediaStream>;
  readonly connection: RTCPeerConnectionState;
  /** For statistics and whatever else is missing here; descriptions and candidates are the SDK's. */
  readonly pc: RTCPeerConnection;
  /** The channel behind `send`; undefined with `data: false`. */
  readonly channel?: RTCDataChannel;
}

/** How a connection runs just now. */
export interface ConnectionInfo {
  /** relayed: at least one of the two ends is a relay. */
  path: 'direct' | 'relayed';
  relays: 'none' | 'local' | 'remote' | 'both';
  /** What leaves this browser: the leg to our relay, or the direct packets. */
  protocol: 'udp' | 'tcp' | 'tls';
  /** ms; undefined before the first answer was timed. */
  roundTrip?: number;
  bytesSent: number;
  bytesReceived: number;
  local: CandidateInfo;
  remote: CandidateInfo;
}

export interface CandidateInfo {
  type: RTCIceCandidateType;
  protocol: 'udp' | 'tcp';
  relayProtocol?: 'udp' | 'tcp' | 'tls';
  url?: string;
}

export interface ChatMessage {
  /** A peerId. */
  from: string;
  name?: string;
  text: string;
  id: string;
  createdAt: number | string;
  /** True for what `chat` resolves to; messages of others arrive with false. */
  own: boolean;
}

export interface RoomEvents {
  /**
   * Signaling: lost (reconnecting), back (joined), over (closed). The peers' connections live on in between. `missed`: how many
   * events, chat lines among them, the server could not keep for us while we were away.
   */
  state: { state: 'waiting' | 'joined' | 'reconnecting' | 'closed'; resumed?: boolean; missed?: number; reason?: string; error?: CallgateError };
  /** Somebody came. `here`: it was here before us, and we joined anew. On the first join look into `room.peers`. */
  'peer-joined': { peer: Peer; here: boolean };
  /** reason: left, lost, kicked, closed; rejoined: the server had forgotten us, and everything is built anew. */
  'peer-left': { peer: Peer; reason: string };
  /** For moderators: somebody waits to be let in, or no longer. See `room.admit`. */
  'peer-waiting': { peer: Self };
  'peer-not-waiting': { peer: Self };
  /** The room was locked or opened, or we may do something else in it. */
  changed: { self: Self; locked: boolean; lobby: boolean };
  /** It has lost its connection to the server; or the server was restarted, and it is not back yet. */
  'peer-away': { peer: Peer };
  'peer-back': { peer: Peer };
  /** A stream of that peer, once. */
  stream: { peer: Peer; stream: MediaStream };
  'stream-removed': { peer: Peer; stream: MediaStream };
  track: { peer: Peer; track: MediaStreamTrack; stream: MediaStream; transceiver: RTCRtpTransceiver };
  connection: { peer: Peer; state: RTCPeerConnectionState };
  ice: { peer: Peer; state: RTCIceConnectionState };
  'data-open': { peer: Peer };
  'data-closed': { peer: Peer };
  /** What the peer sent: text, or bytes. */
  data: { peer: Peer; data: string | ArrayBuffer };
  'peer-state': { peer: Peer; state: Readonly<Record<string, unknown>> };
  chat: ChatMessage;
  /** Every two seconds and peer, while somebody listens. */
  stats: { peer: Peer } & ConnectionInfo;
  /** The server is about to end. Stay: we come back by ourselves. */
  draining: Record<string, unknown>;
  /** The room is over for us. reason: left, timeout, what the server said (kicked, deleted, peer-left, …), or an error's code. */
  closed: { reason: string; error?: CallgateError };
  /** Something the server did not take. The room goes on. */
  error: CallgateError;
  /** A connection did not do what it was told. It goes on if it can. */
  'peer-error': { peer: Peer; error: Error };
}

export class Room {
  private constructor();
  readonly id: string;
  readonly kind: 'room' | 'call';
  readonly capacity?: number;
  readonly createdAt?: number | string;
  readonly self: Self;
  readonly peers: ReadonlyMap<string, Peer>;
  readonly state: 'connecting' | 'waiting' | 'joined' | 'reconnecting' | 'closed';
  /** Who waits to be let in, as far as we may know. */
  readonly waiting: ReadonlyMap<string, Self>;
  /** Nobody new comes in. */
  readonly locked: boolean;
  /** Who is new waits to be let in. */
  readonly lobby: boolean;
  /** Why, once closed. */
  readonly closedBecause?: string;
  readonly relayOnly: boolean;
  readonly media?: MediaStream;

  /** Gives back the function that takes the listener off. */
  on<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): () => void;
  once<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): () => void;

  /**
   * Sends over the data channel to that peer, or to all. How many it was handed to: those whose channel is open.
   * Ordered and reliable; watch `peer.channel.bufferedAmount`.
   */
  send(data: string | ArrayBuffer | ArrayBufferView | Blob, peerId?: string): number;
  /**
   * Chat goes by the server, so it reaches those too whose connection is not up. Resolves once it has it; said again by itself, and
   * heard once, if the connection broke meanwhile.
   */
  chat(text: string): Promise<ChatMessage>;
  /** Shares something small with every peer now and later: mute states, a raised hand. Merged with what was said before. */
  setState(state: Record<string, unknown>): void;

  /** For moderators: lets somebody in who waits, or turns it away. */
  admit(peerId: string, admit?: boolean): Promise<void>;
  /** For moderators: lets nobody new in, or has who is new wait. */
  lock(how?: { locked?: boolean; lobby?: boolean }): Promise<void>;
  /** For moderators: puts somebody out; for good, with `ban`. */
  kick(peerId: string, how?: { ban?: boolean }): Promise<void>;

  /** Sends another track of that kind from now on, to everybody; null sends none. */
  replaceTrack(kind: 'audio' | 'video', track: MediaStreamTrack | null): Promise<void>;
  /** Sends one more stream, a shared screen say. */
  addStream(stream: MediaStream): void;
  removeStream(stream: MediaStream): void;

  /** Through the relay only, or however it works best. Running connections move over; media pauses for a moment. */
  setRelayOnly(on: boolean): void;
  /** One connection, or all. It happens by itself when a connection fails. */
  restartIce(peerId?: string): void;
  /** Undefined while there is no connection. */
  connectionInfo(peerId: string): Promise<ConnectionInfo | undefined>;
  getStats(peerId: string): Promise<RTCStatsReport | undefined>;
  /** Round trip over the data channel, ms. */
  ping(peerId: string): Promise<number>;

  /** Leaves, and tells the others. Happens by itself when the page goes away. */
  leave(): Promise<void>;
}
