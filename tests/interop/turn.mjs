// A small TURN client for tests, over UDP, TCP or TLS: it says what a test wants said, right or wrong, and tells what came back.
//
//   const client = await open({ port, ...credentials(secret) });
//   const { code, relayed } = await client.allocate();
//   await client.permit(peer);                       // 0, or the error's code
//   await client.bind(0x4000, peer);                 // the same
//   client.send(peer, 'by indication');
//   client.sendOn(0x4000, 'by channel');
//   client.on('data', ({ from, number, payload }) => …);
//
// An address is `{ address, port }`.

import { createHash, createHmac, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp, isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';

export const method = { binding: 1, allocate: 3, refresh: 4, send: 6, data: 7, permit: 8, bind: 9 };
export const attribute = {
  username: 0x0006,
  integrity: 0x0008,
  error: 0x0009,
  channel: 0x000c,
  lifetime: 0x000d,
  peer: 0x0012,
  data: 0x0013,
  realm: 0x0014,
  nonce: 0x0015,
  relayed: 0x0016,
  family: 0x0017,
  transport: 0x0019,
  mapped: 0x0020,
};
const cookie = Buffer.from('2112a442', 'hex');
const kinds = ['request', 'indication', 'success', 'error'];

/** A STUN message; `attributes` is a list of `[type, Buffer | string]`, `key` signs it. */
export function encode({ method, kind = 'request', id = randomBytes(12), attributes = [], key }) {
  const kindBits = kinds.indexOf(kind);
  const type = (method & 0xf) | ((method & 0x70) << 1) | ((method & 0xf80) << 2) | ((kindBits & 1) << 4) | ((kindBits & 2) << 7);
  let body = Buffer.concat(attributes.map(([type, value]) => encodeAttribute(type, value)));
  const head = (length) => {
    const header = Buffer.alloc(20);
    header.writeUInt16BE(type, 0);
    header.writeUInt16BE(length, 2);
    cookie.copy(header, 4);
    id.copy(header, 8);
    return header;
  };
  if (key) {
    const mac = createHmac('sha1', key).update(head(body.length + 24)).update(body).digest();
    body = Buffer.concat([body, encodeAttribute(attribute.integrity, mac)]);
  }
  return Buffer.concat([head(body.length), body]);
}

export function encodeAttribute(type, value) {
  const bytes = Buffer.from(value);
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(bytes.length, 2);
  return Buffer.concat([head, bytes, Buffer.alloc(-bytes.length & 3)]);
}

/** `{ method, kind, id, code, length, get(type) }` out of a STUN message; `code` is 0 without an ERROR-CODE. */
export function decode(bytes) {
  const type = bytes.readUInt16BE(0);
  const attributes = [];
  for (let at = 20; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16BE(at + 2);
    attributes.push([bytes.readUInt16BE(at), bytes.subarray(at + 4, at + 4 + length)]);
    at += 4 + length + (-length & 3);
  }
  const get = (wanted) => attributes.find(([type]) => type === wanted)?.[1];
  const error = get(attribute.error);
  return {
    method: (type & 0xf) | ((type >> 1) & 0x70) | ((type >> 2) & 0xf80),
    kind: kinds[((type >> 4) & 1) | ((type >> 7) & 2)],
    id: bytes.subarray(8, 20),
    code: error ? error[2] * 100 + error[3] : 0,
    length: bytes.length,
    get,
  };
}

/** An address as XOR-PEER-ADDRESS and its like have it. */
export function encodeAddress({ address, port }, id = Buffer.alloc(12)) {
  const ip = isIPv6(address) ? ipv6Bytes(address) : Buffer.from(address.split('.').map(Number));
  const mask = Buffer.concat([cookie, id]);
  const head = Buffer.from([0, ip.length === 4 ? 1 : 2, (port >> 8) ^ mask[0], (port & 0xff) ^ mask[1]]);
  return Buffer.concat([head, ip.map((byte, i) => byte ^ mask[i])]);
}

function decodeAddress(bytes, id) {
  const mask = Buffer.concat([cookie, id]);
  const ip = bytes.subarray(4).map((byte, i) => byte ^ mask[i]);
  const groups = () => Array.from({ length: 8 }, (_, i) => ((ip[2 * i] << 8) | ip[2 * i + 1]).toString(16)).join(':');
  const address = ip.length === 4 ? [...ip].join('.') : new URL(`http://[${groups()}]`).hostname.slice(1, -1);
  return { address, port: bytes.readUInt16BE(2) ^ 0x2112 };
}

function ipv6Bytes(text) {
  // A URL writes an embedded IPv4 address in hex.
  const [left, right] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::');
  const groups = (part) => (part ? part.split(':').map((group) => parseInt(group, 16)) : []);
  const [first, last] = [groups(left), groups(right)];
  const all = right === undefined ? first : [...first, ...Array(8 - first.length - last.length).fill(0), ...last];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

export function channelData(number, payload) {
  const bytes = Buffer.from(payload);
  const head = Buffer.alloc(4);
  head.writeUInt16BE(number, 0);
  head.writeUInt16BE(bytes.length, 2);
  return Buffer.concat([head, bytes]);
}

/** Opens a client of the server at `host` and `port`, coming from the address `from`; `tls` holds options of tls.connect. */
export async function open({ host = '127.0.0.1', port, transport = 'udp', from, username, credential, tls }) {
  const client = new Turn(transport, { username, credential });
  if (transport === 'udp') {
    const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', recvBufferSize: 1 << 21 });
    socket.on('message', (bytes) => client.take(bytes));
    socket.on('error', () => {}); // somebody's ICMP error
    await new Promise((done) => socket.bind(0, from, done));
    await new Promise((done) => socket.connect(port, host, done));
    client.local = socket.address();
    client.write = (bytes) => socket.send(bytes);
    client.close = () => socket.close();
  } else {
    const to = { host, port, localAddress: from, noDelay: true };
    const socket = transport === 'tls' ? connectTls({ ...to, ...tls }) : connectTcp(to);
    await once(socket, transport === 'tls' ? 'secureConnect' : 'connect');
    socket.on('error', () => {});
    socket.on('close', () => client.emit('closed'));
    socket.on('data', (bytes) => client.takeStream(bytes));
    client.socket = socket;
    client.local = socket.address();
    client.write = (bytes) => socket.write(Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]));
    client.close = () => socket.destroy();
  }
  return client;
}

/** See the head of this file. Emits `data` and, over TCP or TLS, `closed`; counts what came in `packets` and `bytes`. */
class Turn extends EventEmitter {
  packets = 0;
  bytes = 0;
  #waiting = new Map();
  #pending = Buffer.alloc(0);

  constructor(transport, { username, credential }) {
    super();
    Object.assign(this, { transport, username, credential, realm: undefined, nonce: undefined });
  }

  take(bytes) {
    if (bytes.length >= 4 && bytes[0] >> 6 === 1) {
      const payload = bytes.subarray(4, 4 + bytes.readUInt16BE(2));
      return this.#arrived({ number: bytes.readUInt16BE(0), payload });
    }
    if (bytes.length < 20) return undefined;
    const message = decode(bytes);
    if (message.kind === 'indication') {
      if (message.method !== method.data) return undefined;
      const from = decodeAddress(message.get(attribute.peer), message.id);
      const payload = message.get(attribute.data);
      // One without DATA tells of an ICMP error.
      return payload && this.#arrived({ from, payload });
    }
    return this.#waiting.get(message.id.toString('hex'))?.(message);
  }

  takeStream(bytes) {
    this.#pending = this.#pending.length ? Buffer.concat([this.#pending, bytes]) : bytes;
    for (;;) {
      const rest = this.#pending;
      if (rest.length < 4) return;
      const stun = rest[0] >> 6 === 0;
      const length = rest.readUInt16BE(2);
      const whole = stun ? 20 + length : 4 + length + (-length & 3);
      if (rest.length < whole) return;
      this.#pending = rest.subarray(whole);
      this.take(rest.subarray(0, whole));
    }
  }

  #arrived(data) {
    this.packets += 1;
    this.bytes += data.payload.length;
    this.emit('data', data);
  }

  /** Sends a request as it is, over UDP up to three times; resolves to the answer, or undefined if none comes in `timeout` ms. */
  async ask(request, { timeout = 15_000 } = {}) {
    const id = request.subarray(8, 20).toString('hex');
    const answered = new Promise((done) => this.#waiting.set(id, done));
    const tries = this.transport === 'udp' ? 3 : 1;
    try {
      for (let n = 0; n < tries; n++) {
        this.write(request);
        // The last time it waits for what is left.
        const wait = n === tries - 1 ? timeout : Math.min(timeout / tries, 700);
        const given = new AbortController();
        const answer = await Promise.race([answered, sleep(wait, undefined, { signal: given.signal }).catch(() => {})]);
        given.abort();
        if (answer) return answer;
        timeout -= wait;
      }
      return undefined;
    } finally {
      this.#waiting.delete(id);
    }
  }

  /** An authenticated request with the realm and nonce at hand. */
  signed(method, attributes, id = randomBytes(12)) {
    const { username, credential, realm, nonce } = this;
    const key = createHash('md5').update(`${username}:${realm}:${credential}`).digest();
    const credentials = [[attribute.username, username], [attribute.realm, realm], [attribute.nonce, nonce]];
    return encode({ method, id, attributes: [...attributes, ...credentials], key });
  }

  /** Asks for an allocation without credentials, and keeps the realm and the nonce of the answer. */
  async challenge() {
    const answer = await this.ask(encode({ method: method.allocate, attributes: [[attribute.transport, Buffer.from([17, 0, 0, 0])]] }));
    this.#learn(answer);
    return answer;
  }

  #learn(answer) {
    this.realm = answer.get(attribute.realm)?.toString();
    this.nonce = answer.get(attribute.nonce)?.toString();
    return this.nonce !== undefined;
  }

  /**
   * Asks with credentials, and once more when the server gives a new nonce. `attributes` is a list or a function of the
   * transaction id. Resolves to the answer; one that never came has the code `undefined`.
   */
  async request(method, attributes = []) {
    const listed = (id) => (typeof attributes === 'function' ? attributes(id) : attributes);
    const none = { code: undefined, get: () => undefined };
    if (this.nonce === undefined) {
      const id = randomBytes(12);
      const answer = await this.ask(encode({ method, id, attributes: listed(id) }));
      if (answer?.code !== 401 || !this.#learn(answer)) return answer ?? none;
    }
    for (let tries = 0; ; tries++) {
      const id = randomBytes(12);
      const answer = await this.ask(this.signed(method, listed(id), id));
      if (answer?.code === 438 && tries === 0 && this.#learn(answer)) continue;
      return answer ?? none;
    }
  }

  /** `{ code, relayed, mapped, lifetime }`; `family` is 4 or 6, `lifetime` in seconds. */
  async allocate({ family, lifetime } = {}) {
    const attributes = [[attribute.transport, Buffer.from([17, 0, 0, 0])]];
    if (family) attributes.push([attribute.family, Buffer.from([family === 6 ? 2 : 1, 0, 0, 0])]);
    if (lifetime !== undefined) attributes.push([attribute.lifetime, number32(lifetime)]);
    const answer = await this.request(method.allocate, attributes);
    if (answer.code !== 0) return { code: answer.code };
    this.relayed = decodeAddress(answer.get(attribute.relayed), answer.id);
    const mapped = decodeAddress(answer.get(attribute.mapped), answer.id);
    return { code: 0, relayed: this.relayed, mapped, lifetime: answer.get(attribute.lifetime).readUInt32BE(0) };
  }

  /** `{ code, lifetime }`; 0 seconds ends the allocation. */
  async refresh(lifetime) {
    const answer = await this.request(method.refresh, lifetime === undefined ? [] : [[attribute.lifetime, number32(lifetime)]]);
    return { code: answer.code, lifetime: answer.get(attribute.lifetime)?.readUInt32BE(0) };
  }

  /** Asks for permissions; resolves to 0 or the error's code. */
  async permit(...peers) {
    const attributes = (id) => peers.map((peer) => [attribute.peer, encodeAddress(peer, id)]);
    return (await this.request(method.permit, attributes)).code;
  }

  /** Binds a channel; resolves to 0 or the error's code. */
  async bind(number, peer) {
    const channel = Buffer.from([number >> 8, number & 0xff, 0, 0]);
    const attributes = (id) => [[attribute.channel, channel], [attribute.peer, encodeAddress(peer, id)]];
    return (await this.request(method.bind, attributes)).code;
  }

  /** A Send indication. */
  send(peer, payload) {
    const id = randomBytes(12);
    const attributes = [[attribute.peer, encodeAddress(peer, id)], [attribute.data, payload]];
    return this.write(encode({ method: method.send, kind: 'indication', id, attributes }));
  }

  sendOn(number, payload) {
    return this.write(channelData(number, payload));
  }

  /** Asks who we are, without credentials; resolves to our address as the server sees it, or undefined. */
  async binding(options) {
    const answer = await this.ask(encode({ method: method.binding }), options);
    const mapped = answer?.get(attribute.mapped);
    return mapped && decodeAddress(mapped, answer.id);
  }
}

export function number32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A plain UDP peer: `{ address, port, packets, bytes, received, send(to, payload), close() }`; `echo` sends everything back. */
export async function openPeer({ address = '127.0.0.1', echo = false } = {}) {
  const socket = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4', recvBufferSize: 1 << 21 });
  await new Promise((done) => socket.bind(0, address, done));
  const peer = {
    ...socket.address(),
    packets: 0,
    bytes: 0,
    last: undefined,
    send: (to, payload) => socket.send(payload, to.port, to.address),
    close: () => socket.close(),
  };
  socket.on('error', () => {});
  socket.on('message', (payload, from) => {
    peer.packets += 1;
    peer.bytes += payload.length;
    peer.last = { payload, from };
    if (echo) peer.send(from, payload);
  });
  return peer;
}

/** How many packets the kernel itself has dropped at UDP sockets of this port: a program that gets no time to read loses some. */
export function droppedByKernel(port) {
  const lines = ['/proc/net/udp', '/proc/net/udp6'].flatMap((file) => readFileSync(file, 'utf8').trim().split('\n').slice(1));
  const fields = lines.map((line) => line.trim().split(/\s+/));
  const there = fields.filter(([, local]) => parseInt(local.slice(local.lastIndexOf(':') + 1), 16) === port);
  return there.reduce((sum, all) => sum + Number(all.at(-1)), 0);
}
