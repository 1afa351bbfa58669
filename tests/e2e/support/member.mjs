// A room's member without a browser: joins by Socket.IO, has the iceServers of its answer, and signals.

import { io } from 'socket.io-client';

/** Joins `room` of the daemon at `url`; `options` go to socket.io-client. See the returned object. */
export async function join(url, room, { name = 'member', options = {} } = {}) {
  const socket = io(url, { forceNew: true, reconnection: false, transports: ['websocket'], auth: { dialect: 'native' }, ...options });
  const ask = (...args) => socket.timeout(30_000).emitWithAck(...args);
  try {
    await new Promise((done, failed) => socket.once('connect', done).once('connect_error', failed));
    const userId = `user-${name}`;
    const answer = await ask('room.join', { room, name, userId });
    if (!answer.ok) throw new Error(`${name} does not get into ${room}: ${JSON.stringify(answer)}`);
    const { username, credential } = answer.iceServers.find((server) => server.username);
    return {
      room,
      socket,
      id: answer.self.peerId,
      userId,
      peers: answer.peers,
      iceServers: answer.iceServers,
      /** `{ username, credential }` for TURN. */
      credentials: { username, credential },
      ask,
      /** To all others in the room; `kind` is offer, answer or candidate. Throws when it is refused. */
      signal: async (kind, data) => {
        const said = await ask('signal', { room, kind, data });
        if (!said.ok) throw new Error(`${name}'s ${kind} is refused: ${JSON.stringify(said)}`);
      },
      /** Says where it can be reached, as a browser does with a candidate of the type given. */
      announce(where, type = 'srflx') {
        const candidate = `candidate:1 1 udp 1 ${where.address} ${where.port} typ ${type}${type === 'host' ? '' : ' raddr 0.0.0.0 rport 0'}`;
        return this.signal('candidate', { candidate, sdpMid: '0', sdpMLineIndex: 0 });
      },
      onSignal: (heard) => socket.on('signal', heard),
      leave: () => ask('room.leave', { room }),
      close: () => socket.disconnect(),
    };
  } catch (error) {
    socket.disconnect();
    throw error;
  }
}
