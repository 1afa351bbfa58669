// Two WebRTC peers that signal in two dialects: `dialect_pair.mjs JSON` with `{ url, first, second }`. Prints
// `{ connected, echoes, ways }`. A process of its own: one of the libraries behind webrtc.mjs is native code.

import { setTimeout as sleep } from 'node:timers/promises';
import { speak } from './dialects.mjs';
import { webrtc } from './webrtc.mjs';

const { url, first, second } = JSON.parse(process.argv[2]);
const texts = 20;

function end(member, offering, from) {
  const own = { member, echoes: 0 };
  const heard = (text) => {
    if (text.startsWith('echo ')) own.echoes += 1;
    else own.peer.send(`echo ${text}`);
  };
  const servers = member.iceServers
    .map(({ urls, ...rest }) => ({ urls: [urls].flat().filter((one) => /^turn:.*transport=udp$/.test(one)).slice(0, 1), ...rest }))
    .filter(({ urls }) => urls.length);
  own.peer = webrtc.werift({ servers, from, offering, say: (kind, data) => member.signal(kind, data), heard });
  (async () => {
    for (;;) {
      const { kind, data } = await member.signals.next(120_000);
      await own.peer.signal(kind, data);
    }
  })().catch((error) => console.error(error));
  return own;
}

const [a, b] = [
  await speak(first, url, { user: 'ada', options: { localAddress: '127.0.0.21' } }),
  await speak(second, url, { user: 'ben', options: { localAddress: '127.0.0.22' } }),
];
await b.enter(await a.enter());
await a.comings.next();
const ends = [end(a, false, '127.0.0.21'), end(b, true, '127.0.0.22')];
for (const { peer } of ends) await peer.begin();
const connected = await Promise.race([Promise.all(ends.map(({ peer }) => peer.opened)).then(() => true), sleep(60_000, false)]);
if (connected) {
  for (const { peer } of ends) for (let n = 1; n <= texts; n += 1) peer.send(`${n} ${'x'.repeat(n * 50)}`);
  for (const late = Date.now() + 30_000; Date.now() < late && ends.some(({ echoes }) => echoes < texts); ) await sleep(20);
}
const ways = await Promise.all(ends.map(({ peer }) => peer.way()));
process.stdout.write(`${JSON.stringify({ connected, echoes: ends.map(({ echoes }) => echoes), ways })}\n`);
await Promise.race([Promise.all(ends.map(({ peer }) => peer.close())), sleep(1_000)]);
process.exit(0);
