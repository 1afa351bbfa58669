// What strangers throw at open ports. Bounded in count and time, and only ever sent to the host given.

import { randomBytes, randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Packets that look like something and are not. */
const packets = [
  () => randomBytes(randomInt(0, 1400)),
  () => Buffer.alloc(0),
  () => stun(randomInt(0, 0x4000), randomBytes(4 * randomInt(0, 60))), // any method, attributes of noise
  () => stun(0x0003, attribute(0x0019, Buffer.from([17, 0, 0, 0]))).subarray(0, randomInt(1, 27)), // cut short
  () => stun(0x0003, attribute(0x0006, Buffer.alloc(700, 'u')), 0xffff), // the header claims more than there is
  () => stun(0x0016, Buffer.concat([attribute(0x0012, randomBytes(8)), attribute(0x0013, randomBytes(300))])), // Send without allocation
  () => channelData(randomInt(0x4000, 0x5000), randomBytes(200)),
  () => channelData(0x7fff, randomBytes(3)),
  () => Buffer.concat([channelData(0x4001, Buffer.alloc(0)), Buffer.from([0xff])]),
];

function stun(type, attributes, length = attributes.length) {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(type, 0);
  header.writeUInt16BE(length, 2);
  header.writeUInt32BE(0x2112a442, 4);
  randomBytes(12).copy(header, 8);
  return Buffer.concat([header, attributes]);
}

function attribute(type, value) {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
}

function channelData(number, payload) {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(number, 0);
  head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

/** `count` packets of every kind in turn, from ten sockets, about 2,000 a second. */
export async function throwUdp({ host, port, count = 5_000 }) {
  const sockets = Array.from({ length: 10 }, () => createSocket(host.includes(':') ? 'udp6' : 'udp4').on('error', () => {}));
  for (let i = 0; i < count; i++) {
    sockets[i % sockets.length].send(packets[i % packets.length](), port, host);
    if (i % 20 === 19) await sleep(10);
  }
  await sleep(100);
  sockets.forEach((socket) => socket.close());
}

const openings = [
  () => randomBytes(randomInt(1, 4000)),
  () => 'GET / HTTP/1.1\r\nHost: ', // never finished
  () => 'GET / HTTP/9.9\r\n\r\n',
  () => `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  () => `POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n`,
  () => 'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n\0\0\0',
  () => 'GET /../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n',
  () => Buffer.from('16030100c8010000c40303', 'hex'), // the beginning of a TLS ClientHello
  () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + '\0'.repeat(500),
  () => stun(0x0003, attribute(0x0019, Buffer.from([17, 0, 0, 0]))),
  () => '', // says nothing at all
];

/** `count` connections that speak nonsense, stop in the middle, or say nothing; all are open at once, then closed. */
export async function throwTcp({ host, port, count = 150 }) {
  const sockets = Array.from({ length: count }, (_, i) => {
    const socket = connect({ host, port, allowHalfOpen: true }).on('error', () => {});
    socket.once('connect', () => socket.write(openings[i % openings.length]()));
    return socket.resume();
  });
  await sleep(2_000);
  sockets.forEach((socket, i) => (i % 2 ? socket.resetAndDestroy() : socket.destroy()));
}
