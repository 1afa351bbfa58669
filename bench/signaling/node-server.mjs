// The peer to compare with: a plain Node socket.io server with the handlers of a signaling tutorial, and nothing else.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const server = createServer((_, answer) => answer.end('ok'));
const io = new Server(server, { transports: ['websocket', 'polling'] });

io.on('connection', (socket) => {
  socket.on('join', ({ roomId }) => {
    const room = io.sockets.adapter.rooms.get(roomId) || new Set();
    if (room.size >= 2) return socket.emit('full');
    const peers = [...room];
    socket.join(roomId);
    socket.emit('joined', { roomId, peers });
    socket.to(roomId).emit('peer-joined', { peerId: socket.id });
  });
  socket.on('offer', ({ roomId, sdp }) => socket.to(roomId).emit('offer', { from: socket.id, sdp }));
  socket.on('answer', ({ roomId, sdp }) => socket.to(roomId).emit('answer', { from: socket.id, sdp }));
  socket.on('ice-candidate', ({ roomId, candidate }) =>
    socket.to(roomId).emit('ice-candidate', { from: socket.id, candidate }));
  socket.on('chat-message', ({ roomId, msg }) =>
    socket.to(roomId).emit('chat-message', { from: socket.id, msg }));
  socket.on('disconnecting', () => {
    for (const room of socket.rooms) {
      if (room !== socket.id) socket.to(room).emit('peer-left', { peerId: socket.id });
    }
  });
});

server.listen(Number(process.env.PORT), '127.0.0.1');
