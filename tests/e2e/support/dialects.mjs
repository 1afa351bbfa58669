// One client for each dialect, in its own words, behind one small face: what a test of all pairs needs.
//
//   const ada = await speak('mesh', daemon.url, { user: 'ada', transports: ['polling'] });
//   const room = await ada.enter();                 // makes a room, or names one; `await ben.enter(room)` joins it
//   ada.signal('offer', description);               // to the other one
//   const { kind, data } = await ben.signals.next();
//
// `signals`, `chats`, `comings`, `goings` and `returns` are what was heard, in order; `next()` waits for more.

import { io } from 'socket.io-client';

/** Enough for a machine with other things to do. */
const PATIENCE = 30_000;

let rooms = 0;
const fresh = () => `pair-${process.pid}-${(rooms += 1)}`;

/** A list one can wait at the end of. */
function heard() {
  const items = [];
  let from = 0;
  let wake = () => {};
  return {
    items,
    add: (item) => {
      items.push(item);
      wake();
    },
    async next(timeout = PATIENCE) {
      if (from >= items.length) {
        await new Promise((done, failed) => {
          const late = setTimeout(() => failed(new Error(`nothing more after ${JSON.stringify(items).slice(0, 500)}`)), timeout);
          wake = () => {
            clearTimeout(late);
            done();
          };
        });
      }
      return items[from++];
    },
  };
}

/** How each dialect says things. `on` has, by event, what is heard: `[list, item from the event's body]`. */
const vocabularies = {
  call: {
    join: { event: 'join', body: (roomId) => ({ roomId }), answer: 'joined' },
    leave: 'leave',
    signals: {
      offer: ({ roomId, data }) => ['offer', { roomId, sdp: data }],
      answer: ({ roomId, data }) => ['answer', { roomId, sdp: data }],
      candidate: ({ roomId, data }) => ['ice-candidate', { roomId, candidate: data }],
    },
    chat: (roomId, msg) => ['chat-message', { roomId, msg }],
    on: {
      offer: ({ sdp }) => ['signals', { kind: 'offer', data: sdp }],
      answer: ({ sdp }) => ['signals', { kind: 'answer', data: sdp }],
      'ice-candidate': ({ candidate }) => ['signals', { kind: 'candidate', data: candidate }],
      'chat-message': ({ msg }) => ['chats', msg],
      'peer-joined': ({ peerId }) => ['comings', peerId],
      'peer-left': ({ peerId }) => ['goings', peerId],
      'peer-rejoined': ({ peerId }) => ['returns', peerId],
    },
    others: ({ peers }) => peers,
  },
  mesh: {
    join: { event: 'join-room', body: (roomId, userId) => ({ roomId, userId }), answer: 'room-users' },
    leave: 'leave-room',
    signals: {
      offer: ({ roomId, targetId, data }) => ['offer', { roomId, targetId, offer: data }],
      answer: ({ roomId, targetId, data }) => ['answer', { roomId, targetId, answer: data }],
      candidate: ({ roomId, targetId, data }) => ['ice-candidate', { roomId, targetId, candidate: data }],
    },
    chat: (roomId, msg) => ['chat-message', { roomId, msg }],
    on: {
      offer: ({ from, offer }) => ['signals', { kind: 'offer', from, data: offer }],
      answer: ({ from, answer }) => ['signals', { kind: 'answer', from, data: answer }],
      'ice-candidate': ({ from, candidate }) => ['signals', { kind: 'candidate', from, data: candidate }],
      'chat-message': ({ msg }) => ['chats', msg],
      'user-joined': ({ userId }) => ['comings', userId],
      'user-left': ({ userId }) => ['goings', userId],
      'user-rejoined': ({ userId }) => ['returns', userId],
    },
    others: ({ users }) => users,
  },
  community: {
    join: { event: 'joinRoom', body: (roomId) => roomId, answer: 'joinedRoom' },
    create: { event: 'createRoom', body: { name: 'A pair', isPrivate: false }, answer: 'roomCreated' },
    leave: 'leaveRoom',
    // It signals as a mesh does.
    chat: (roomId, text) => ['sendMessage', { roomId, text, attachments: [] }],
    on: {
      newMessage: ({ text, sender }, me) => (sender.id === me ? undefined : ['chats', text]),
      userJoined: ({ userId }) => ['comings', userId],
      userLeft: ({ userId }) => ['goings', userId],
      userReconnected: ({ userId }) => ['returns', userId],
    },
    others: ({ peers }) => peers.map(({ peerId, userId }) => userId ?? peerId),
  },
  native: {
    join: { event: 'room.join', body: (room, userId) => ({ room, userId }) },
    leave: 'room.leave',
    signals: Object.fromEntries(
      ['offer', 'answer', 'candidate'].map((kind) => [kind, ({ roomId, targetId, data }) => ['signal', { room: roomId, to: targetId, kind, data }]]),
    ),
    chat: (room, text) => ['chat', { room, text }],
    on: {
      signal: ({ from, kind, data }) => ['signals', { kind, from, data }],
      chat: ({ text }) => ['chats', text],
      'room.peer-joined': ({ peer }) => ['comings', peer.peerId],
      'room.peer-left': ({ peerId }) => ['goings', peerId],
      'room.peer-reconnected': ({ peerId }) => ['returns', peerId],
    },
    others: ({ peers }) => peers.map(({ peerId }) => peerId),
  },
};
vocabularies.community.signals = vocabularies.mesh.signals;
vocabularies.community.on = { ...vocabularies.mesh.on, ...vocabularies.community.on };

export const dialects = Object.keys(vocabularies);

/** Connects. `user` is what it calls itself, where its dialect has users. */
export async function speak(dialect, url, { user, transports = ['websocket'], query = {}, options = {} } = {}) {
  const words = vocabularies[dialect];
  const known = dialect === 'community' ? { userId: user, ...query } : query;
  const socket = io(url, { forceNew: true, reconnection: false, transports, query: known, ...options });
  const client = { dialect, socket, room: undefined, target: undefined };
  for (const list of ['signals', 'chats', 'comings', 'goings', 'returns', 'errors', 'resumed']) client[list] = heard();
  for (const [event, read] of Object.entries(words.on)) {
    socket.on(event, (body) => {
      const [list, item] = read(body, user) ?? [];
      if (list === 'comings' || list === 'signals') client.target ??= item.from ?? item;
      if (list) client[list].add(item);
    });
  }
  socket.on('error', (error) => client.errors.add(error));
  const answer = (event) => new Promise((done) => socket.once(event, done));
  const within = (what, promise) =>
    Promise.race([promise, new Promise((_, failed) => setTimeout(() => failed(new Error(`${dialect}: no answer to ${what}; ${JSON.stringify(client.errors.items)}`)), PATIENCE).unref())]);

  const entered = (told, roomId) => {
    client.room = roomId;
    client.self = told.self?.peerId ?? told.self;
    client.iceServers = told.iceServers;
    client.resume = told.resume;
    [client.target] = words.others(told);
    return roomId;
  };
  // What a connection is told that names its earlier one.
  socket.on(words.join.answer ?? 'room.admitted', (told) => {
    if (!told.resumed) return;
    entered(told, told.roomId ?? told.room.id);
    client.resumed.add(told);
  });

  Object.assign(client, {
    /** Joins that room, or makes one of its own. */
    async enter(room) {
      if (!room && words.create) {
        const told = answer(words.create.answer);
        socket.emit(words.create.event, words.create.body);
        const made = await within('createRoom', told);
        return entered(made, made.roomId);
      }
      const roomId = room ?? fresh();
      if (words.join.answer) {
        const told = answer(words.join.answer);
        socket.emit(words.join.event, words.join.body(roomId, user));
        return entered(await within('join', told), roomId);
      }
      const told = await socket.timeout(PATIENCE).emitWithAck(words.join.event, words.join.body(roomId, user));
      if (!told.ok) throw new Error(JSON.stringify(told));
      return entered(told, roomId);
    },
    /** Takes its seat again with its token, on the connection that there is now. */
    async rejoin() {
      const { room, resume } = client;
      const told = await socket.timeout(PATIENCE).emitWithAck(words.join.event, { room, userId: user, resume });
      if (!(told.ok ?? told.success)) throw new Error(JSON.stringify(told));
      if (!words.join.answer) entered(told, room);
      return told;
    },
    signal: (kind, data) => socket.emit(...words.signals[kind]({ roomId: client.room, targetId: client.target, data })),
    chat: (text) => socket.emit(...words.chat(client.room, text)),
    leave: () => socket.emit(words.leave, dialect === 'native' ? { room: client.room } : { roomId: client.room }),
    /** Cuts the transport without a word, as a dying network does. */
    kill() {
      const { transport } = socket.io.engine;
      if (transport.ws?.terminate) transport.ws.terminate();
      else socket.io.engine.close();
    },
    close: () => socket.disconnect(),
  });
  await new Promise((done, failed) => socket.once('connect', done).once('connect_error', failed));
  client.sid = socket.id;
  return client;
}
