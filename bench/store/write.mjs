// What a stored message costs, from clients' side: 1, 8 and 64 clients, each saying the next thing when the last one is
// acknowledged; with the store in a file, and in memory.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRequire } from 'node:module';
import { start } from '../../tests/e2e/support/callgate.mjs';

const { io } = createRequire(new URL('../../tests/e2e/package.json', import.meta.url))('socket.io-client');
const SECONDS = 3;
const limits = { connects_per_second: 0, joins_per_minute: 0, events_per_second: 0, bytes_per_second: 0, rooms_per_user: 0 };

const cpu = (pid) => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13).reduce((a, b) => Number(a) + Number(b), 0)) * 10_000;

for (const url of ['', 'memory:']) {
  const daemon = await start({ config: { limits, store: { url } } });
  for (const count of [1, 8, 64]) {
    const clients = [];
    for (let n = 0; n < count; n += 1) {
      const socket = io(daemon.url, { forceNew: true, transports: ['websocket'], auth: { dialect: 'native', userId: `user-${n}` } });
      const { room } = await socket.emitWithAck('room.create', { kind: 'channel', name: `Room ${n}` });
      await socket.emitWithAck('room.join', { room: room.id });
      clients.push({ socket, room: room.id });
    }
    const before = await daemon.metrics();
    const [begun, used] = [performance.now(), cpu(daemon.pid)];
    const times = [];
    let over = false;
    const lives = clients.map(async ({ socket, room }) => {
      while (!over) {
        const at = performance.now();
        const answer = await socket.emitWithAck('chat', { room, text: 'What is said in a line or two of chat' });
        if (!answer.ok) throw new Error(JSON.stringify(answer));
        times.push(performance.now() - at);
      }
    });
    await sleep(SECONDS * 1000);
    over = true;
    await Promise.all(lives);
    const seconds = (performance.now() - begun) / 1000;
    const after = await daemon.metrics();
    const batches = after.sum('callgate_store_batches_total') - before.sum('callgate_store_batches_total');
    times.sort((a, b) => a - b);
    const at = (part) => times[Math.floor(times.length * part)].toFixed(2);
    const each = ((cpu(daemon.pid) - used) / times.length).toFixed(0);
    console.log(
      `${url || 'sqlite:'} ${count} clients: ${Math.round(times.length / seconds)} messages/s, ${at(0.5)} ms (p99 ${at(0.99)}), ${each} µs of CPU each, ${(times.length / batches).toFixed(1)} a batch`,
    );
    clients.forEach(({ socket }) => socket.disconnect());
  }
  await daemon.stop();
}
