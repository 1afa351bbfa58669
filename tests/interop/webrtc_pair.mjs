// Two WebRTC peers as members of the daemon's rooms: `webrtc_pair.mjs JSON` with `{ url, left, right, rooms, transport, patience }`.
//
// `left` and `right` name libraries of support/webrtc.mjs, `rooms` is where each joins; a pair in two rooms passes its
// signals on behind the daemon's back as well. Prints `{ connected, left, right }`, each side with the types of its two
// candidates and how many texts came back to it. A process of its own, since one of the libraries is native code.

import { setTimeout as sleep } from 'node:timers/promises';
import { join } from '../e2e/support/member.mjs';
import { webrtc } from '../e2e/support/webrtc.mjs';

const { url, left, right, rooms, transport, patience = 60_000 } = JSON.parse(process.argv[2]);
const texts = 30;
const together = rooms[0] === rooms[1];

/** The relays of that transport, which the join answered with. */
function relays({ iceServers }) {
  const wanted = { udp: /^turn:.*\?transport=udp$/, tcp: /^turn:.*\?transport=tcp$/, tls: /^turns:.*\?transport=tcp$/ }[transport];
  const found = iceServers
    .map(({ urls, ...rest }) => ({ urls: [urls].flat().filter((one) => wanted.test(one)).slice(0, 1), ...rest }))
    .filter(({ urls }) => urls.length);
  if (!found.length) throw new Error(`no ${transport} in ${JSON.stringify(iceServers.map(({ urls }) => urls))}`);
  return found.slice(0, 1);
}

/** `from` is this side's address: the two are as far from each other as two hosts. */
async function side(library, room, offering, from) {
  const member = await join(url, room, { name: library, options: { localAddress: from } });
  const end = { member, echoes: 0, other: undefined, hasRelay: false };
  const heard = (text) => {
    if (text.startsWith('echo ')) end.echoes += 1;
    else end.peer.send(`echo ${text}`);
  };
  // In the order in which they were said.
  let saying = Promise.resolve();
  const say = (kind, data) => {
    if (kind === 'candidate' && / typ relay/.test(data?.candidate)) end.hasRelay = true;
    saying = saying.then(() => member.signal(kind, data)).then(() => together || end.other.peer.signal(kind, data));
    saying.catch((error) => console.error(error));
  };
  end.peer = webrtc[library]({ servers: relays(member), from, offering, say, heard });
  if (together) {
    let hearing = Promise.resolve();
    member.onSignal(({ kind, data }) => {
      hearing = hearing.then(() => end.peer.signal(kind, data));
      hearing.catch((error) => console.error(error));
    });
  }
  return end;
}

const ends = [await side(left, rooms[0], true, '127.0.0.21'), await side(right, rooms[1], false, '127.0.0.22')];
[ends[0].other, ends[1].other] = [ends[1], ends[0]];
for (const end of ends) await end.peer.begin();

// Who is to talk in vain is to have had the means.
for (const late = Date.now() + 60_000; !together && ends.some(({ hasRelay }) => !hasRelay) && Date.now() < late; ) await sleep(50);
const connected = await Promise.race([Promise.all(ends.map(({ peer }) => peer.opened)).then(() => true), sleep(patience, false)]);
if (connected) {
  for (const { peer } of ends) for (let n = 1; n <= texts; n++) peer.send(`${n} ${'x'.repeat(n * 97)}`);
  for (const end = Date.now() + 30_000; Date.now() < end && ends.some(({ echoes }) => echoes < texts); ) await sleep(20);
}
const ways = await Promise.all(ends.map(({ peer }) => peer.way()));
const [one, two] = ends.map(({ echoes }, i) => ({ echoes, local: ways[i][0], remote: ways[i][1] }));
process.stdout.write(`${JSON.stringify({ connected, texts, left: one, right: two })}\n`);
await Promise.race([Promise.all(ends.map(({ peer }) => peer.close())), sleep(1_000)]);
ends.forEach(({ member }) => member.close());
process.exit(0);
