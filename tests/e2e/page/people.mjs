// People on the real page: each has a browser context of their own, with fake camera and microphone.

import { openBrowser } from '../support/browser.mjs';
import { until } from '../support/callgate.mjs';

let count = 0;
export const freshRoom = () => `page-${process.pid}-${(count += 1)}`;
export const id = (name) => `[data-testid="${name}"]`;

/** A browser for a test file. `denied: true` answers every request for a device with no; `args` are Chromium's. */
export async function openPeople(daemon, { denied = false, args = [] } = {}) {
  const browser = await openBrowser({ args: denied ? ['--use-fake-ui-for-media-stream=deny', ...args] : args });
  const contexts = [];

  /** Opens the page with these query parameters; `context` is Playwright's. */
  const visit = async (query, { ways, ...context } = {}) => {
    const own = await browser.newContext({ viewport: { width: 1000, height: 700 }, ...context });
    contexts.push(own);
    own.setDefaultTimeout(60_000);
    if (ways) await own.addInitScript(only, ways);
    const page = await own.newPage();
    const problems = [];
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    await page.goto(`${daemon.url}/?${new URLSearchParams(query)}`);
    return person(page, query.name, problems);
  };

  return {
    visit,
    /** Opens the page and joins at once; resolves when in the room. `context.ways`: what ICE URLs have to match. */
    join: async (room, name, query = {}, context = {}) => {
      const who = await visit({ room, name, autojoin: '1', ...query }, context);
      await who.wait('in the room', () => who.page.evaluate(() => window.callgate?.room?.state === 'joined'));
      return who;
    },
    clear: () => Promise.all(contexts.splice(0).map((each) => each.close())),
    close: () => browser.close(),
  };
}

/** In the page: keeps the browser from every way to the relay but this. */
function only(ways) {
  const Real = RTCPeerConnection;
  const narrowed = ({ iceServers = [], ...rest } = {}) => ({
    ...rest,
    iceServers: iceServers.map(({ urls, ...server }) => ({ ...server, urls: urls.filter((url) => new RegExp(ways).test(url)) })).filter(({ urls }) => urls.length),
  });
  window.RTCPeerConnection = class extends Real {
    constructor(configuration) {
      super(narrowed(configuration));
    }

    setConfiguration(configuration) {
      super.setConfiguration(narrowed(configuration));
    }
  };
}

function person(page, name, problems) {
  const wait = async (what, look, options) => {
    try {
      return await until(`${name}: ${what}`, look, { timeout: 60_000, every: 100, ...options });
    } catch (error) {
      const state = await page.evaluate(describe).catch((failed) => failed.message);
      error.message += `\n${state}\n${problems.join('\n')}`;
      throw error;
    }
  };
  /** Of the peer of that name: `{ peerId, connection, ice, frames, sdp }`; undefined if it is not here. */
  const sees = (other) =>
    page.evaluate(async (wanted) => {
      const room = window.callgate.room;
      const peer = [...(room?.peers.values() ?? [])].find((each) => each.name === wanted);
      if (!peer) return undefined;
      const stats = [...(await peer.pc.getStats()).values()];
      const video = stats.filter((s) => s.type === 'inbound-rtp' && s.kind === 'video');
      const audio = stats.filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio');
      return {
        peerId: peer.peerId,
        connection: peer.connection,
        ice: peer.pc.iceConnectionState,
        away: peer.away,
        frames: video.reduce((sum, s) => sum + (s.framesDecoded ?? 0), 0),
        audioPackets: audio.reduce((sum, s) => sum + (s.packetsReceived ?? 0), 0),
        ufrag: /a=ice-ufrag:(\S+)/.exec(peer.pc.localDescription?.sdp ?? '')?.[1],
      };
    }, other);
  const info = (other) =>
    page.evaluate((wanted) => {
      const room = window.callgate.room;
      const peer = [...room.peers.values()].find((each) => each.name === wanted);
      return peer && room.connectionInfo(peer.peerId);
    }, other);

  return {
    page,
    name,
    problems,
    wait,
    sees,
    info,
    text: (testId) => page.textContent(id(testId)),
    click: (testId) => page.click(id(testId)),
    waitText: (testId, pattern, options) => wait(`${testId} to say ${pattern}`, async () => pattern.test(await page.textContent(id(testId))), options),
    connected: (other) => wait(`connected to ${other}`, async () => (await sees(other))?.connection === 'connected'),
    /** Waits until `more` frames of `other` were decoded here from now on. */
    watch: async (other, more = 10) => {
      const before = (await sees(other))?.frames ?? 0;
      return wait(`${more} more frames of ${other} than ${before}`, async () => ((await sees(other))?.frames ?? 0) >= before + more);
    },
    /** What the screen reader was told since the start of the page's life. */
    lines: () => page.$$eval(id('chat-line'), (all) => all.map((line) => line.querySelector('.text').textContent)),
  };
}

function describe() {
  const room = window.callgate?.room;
  const peers = [...(room?.peers.values() ?? [])].map((p) => `${p.name}: ${p.pc.signalingState}/${p.pc.iceConnectionState}/${p.connection}`);
  return `room: ${room?.state} ${room?.closedBecause ?? ''}; ${peers.join(', ') || 'no peers'}\n${document.body.innerText.slice(0, 400)}`;
}
