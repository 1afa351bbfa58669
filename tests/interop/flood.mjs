// Strangers by the thousand, in a thread of their own: `new Worker('./flood.mjs', { workerData })` with `{ port, requests, rate, seconds }`.
//
// Each stranger is a socket on an address of its own in 127.0.0.0/8, sends 20 packets out of `requests` (an array of byte
// arrays) to `port` on loopback, hears what comes back for a second, and is gone; `rate` is packets a second of all of them. Posts
// `{ sources, sent, sentBytes, answers, answerBytes, longest }`; `longest` is the most that an answer was longer than its request.

import { createSocket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';

const { port, requests, rate, seconds } = workerData;
const each = 20;
const tally = { sources: 0, sent: 0, sentBytes: 0, answers: 0, answerBytes: 0, longest: 0 };
const random = () => 1 + Math.floor(Math.random() * 253);

let due = 0;

async function stranger() {
  due += each;
  const asked = new Map();
  const socket = createSocket('udp4');
  socket.on('error', () => {});
  socket.on('message', (answer) => {
    tally.answers += 1;
    tally.answerBytes += answer.length;
    tally.longest = Math.max(tally.longest, answer.length / (asked.get(answer.toString('hex', 8, 20)) ?? 1));
  });
  await new Promise((done) => socket.bind(0, `127.${20 + (random() % 200)}.${random()}.${random()}`, done));
  tally.sources += 1;
  for (let n = 0; n < each; n++) {
    const request = Buffer.from(requests[(tally.sent + n) % requests.length]);
    // A request sent again would be answered from memory; a new one is new work.
    for (let i = 8; i < 20; i++) request[i] = Math.floor(Math.random() * 256);
    asked.set(request.toString('hex', 8, 20), request.length);
    tally.sentBytes += request.length;
    socket.send(request, port, '127.0.0.1');
  }
  tally.sent += each;
  await sleep(1_000);
  socket.close();
}

const begun = performance.now();
for (let elapsed = 0; elapsed < seconds * 1000; elapsed = performance.now() - begun) {
  while (due < (rate * elapsed) / 1000) stranger();
  await sleep(2);
}
await sleep(1_200);
parentPort.postMessage(tally);
