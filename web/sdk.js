// callgate's browser SDK: `import { join } from 'https://your-server/sdk.js'`. Types and descriptions: sdk.d.ts.

import { CallgateError } from './sdk/error.js';
import { Room } from './sdk/room.js';
import { Token } from './sdk/token.js';

export { CallgateError, Room };

/** What the server says in a `connect_error`. */
const REFUSALS = ['unauthorized', 'token-expired', 'too-many-requests'];

/**
 * Joins a room; makes it if it is not there. Resolves to a Room once the server has let us in, rejects with a
 * CallgateError otherwise (room-full, unreachable after `timeout` ms, …).
 */
export async function join(options) {
  const { url = new URL('.', import.meta.url).origin, path = '/socket.io/', timeout = 15_000 } = options;
  const io = options.io ?? (await import('./vendor/socket.io.esm.min.js')).io;
  const token = options.token && new Token(options.token);
  const shown = async () => ({ dialect: 'native', ...options.auth, ...(token && { token: await token.shown() }) });
  const socket = io(url, {
    path,
    // Without one the server says what it thinks of that.
    auth: (done) => shown().catch(() => ({ dialect: 'native', ...options.auth })).then(done),
    transports: ['websocket', 'polling'],
    tryAllTransports: true,
    forceNew: true,
    reconnectionDelay: 400,
    reconnectionDelayMax: 4_000,
    timeout: 8_000,
    autoConnect: false,
  });
  const room = new Room(socket, { ...options, kind: options.kind ?? 'room' });
  token?.use(socket);
  room.on('closed', () => token?.stop());
  return new Promise((resolve, reject) => {
    let last;
    const late = setTimeout(() => {
      const why = last ? `: ${last.message}` : '';
      room.abandon(new CallgateError('unreachable', `no answer from ${url} within ${timeout} ms${why}`));
    }, timeout);
    socket.on('connect_error', (error) => {
      last = error;
      // The server said no, and socket.io will not try again.
      if (socket.active) return;
      if (token?.another(error)) socket.connect();
      // Whoever is in a room already, or in its lobby, comes back to it: so many of one user's come at once that we wait our turn.
      else if (error.message === 'too-many-requests' && (room.self || room.state === 'waiting')) setTimeout(() => room.state !== 'closed' && socket.connect(), 3_000 + 4_000 * Math.random());
      else room.abandon(CallgateError.from({ code: REFUSALS.includes(error.message) ? error.message : 'unreachable', message: error.message }));
    });
    const settle = room.on('state', ({ state, reason, error }) => {
      clearTimeout(late);
      if (state === 'waiting') return options.onWaiting?.();
      settle();
      if (state === 'joined') resolve(room);
      else reject(error ?? new CallgateError(reason ?? 'closed', 'the room closed'));
    });
    socket.connect();
  });
}
