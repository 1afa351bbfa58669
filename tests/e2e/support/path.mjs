// A way to a daemon that can die as networks do: it takes what is written into it, delivers nothing, and tells neither end.
//
//   const path = await pathTo(daemon.port);
//   io(path.url);
//   path.dies();      // all that goes through it now is lost for good, and so is what is begun meanwhile
//   path.heals();     // what is begun from now on goes through
//   path.lost();      // what went in and was lost, as text
//   await path.close();

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** A path to a port of this host. */
export async function pathTo(port) {
  let dead = false;
  let lost = '';
  const open = new Set();
  const swallow = (socket) => {
    socket.unpipe();
    socket.removeAllListeners('data');
    socket.on('data', (bytes) => (lost += bytes));
    socket.resume();
  };
  // An end that closes is not told to the other one, either: both stay half open.
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const ends = [near];
    if (dead) swallow(near);
    else {
      const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      ends.push(far);
      near.pipe(far);
      far.pipe(near);
    }
    const way = { ends, dies: () => ends.forEach(swallow) };
    open.add(way);
    for (const end of ends) {
      end.on('error', () => {});
      end.on('close', () => {
        if (way.dead || dead) return;
        ends.forEach((each) => each.destroy());
        open.delete(way);
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    dies() {
      dead = true;
      for (const way of open) {
        way.dead = true;
        way.dies();
      }
    },
    heals() {
      dead = false;
    },
    lost: () => lost,
    async close() {
      for (const { ends } of open) ends.forEach((end) => end.destroy());
      server.close();
      await once(server, 'close');
    },
  };
}
