// Joins members into rooms of two and prints each one's user name and password; stays until its input ends.
//   node members.mjs URL COUNT

import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const { io } = createRequire(resolve(import.meta.dirname, '../../tests/e2e/package.json'))('socket.io-client');
const [url, count] = process.argv.slice(2);

for (let n = 0; n < Number(count); n++) {
  const socket = io(url, { transports: ['websocket'], forceNew: true });
  const joined = await socket.emitWithAck('room.join', { room: `bench-${n >> 1}`, kind: 'room' });
  if (!joined.ok) throw new Error(JSON.stringify(joined));
  const turn = joined.iceServers.find((server) => server.username);
  console.log(turn.username, turn.credential);
}
process.stdin.resume().on('end', () => process.exit(0));
