// A call between two browsers on the real page, and what one can learn about it from outside.

import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openBrowser } from '../support/browser.mjs';
import { until } from '../support/callgate.mjs';

const artifacts = resolve(import.meta.dirname, '../../../artifacts');

/** Whether a pair of `selected()` goes through a relay. */
export const isRelayed = ({ local, remote }) => local === 'relay' || remote === 'relay';

/** Runs in the page before its own scripts: remembers every peer connection, whoever makes it. */
function recordConnections() {
  const Native = window.RTCPeerConnection;
  window.recorded = [];
  window.RTCPeerConnection = class extends Native {
    constructor(...args) {
      super(...args);
      window.recorded.push(this);
    }
  };
}

/**
 * Opens the page at `origin` and joins `room`; `netns` is where the browser runs, `relay` forces the relay, `ca` is the file
 * of the authority it trusts. The peer, among other things:
 * `{ name, page, log, connected(), selected(), watch(), others(), way(), wait(), screenshot(), close() }`.
 */
export async function openPeer({ name, origin, room, relay = false, netns, ca }) {
  const browser = await openBrowser({ netns, origin, ca });
  const log = [];
  try {
    const page = await browser.newPage({ viewport: { width: 1000, height: 700 } });
    page.setDefaultTimeout(60_000);
    page.on('console', (message) => log.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => log.push(`page error: ${error.message}`));
    await page.addInitScript(recordConnections);
    await page.goto(`${origin}/?room=${room}&name=${name}&autojoin=1${relay ? '&relay=1' : ''}`);
    return peer({ name, browser, page, log });
  } catch (error) {
    await browser.close();
    throw error;
  }
}

function peer({ name, browser, page, log }) {
  /** The live connection's statistics as a list; empty before there is one. */
  const stats = () =>
    page.evaluate(async () => {
      const live = window.recorded.filter((pc) => pc.connectionState !== 'closed').at(-1);
      return live ? [...(await live.getStats()).values()] : [];
    });
  const wait = async (what, look, options) => {
    try {
      return await until(`${name}: ${what}`, look, options);
    } catch (error) {
      error.message += `\n${await page.evaluate(describe).catch((e) => e.message)}\n${log.join('\n')}`;
      throw error;
    }
  };
  /** The candidate pair in use: `{ local, remote, protocol, rtt }`, types as in RTCIceCandidateType. */
  const selected = async () => {
    const all = await stats();
    const byId = new Map(all.map((s) => [s.id, s]));
    const pair = byId.get(all.find((s) => s.type === 'transport' && s.selectedCandidatePairId)?.selectedCandidatePairId);
    if (!pair) return undefined;
    const [local, remote] = [byId.get(pair.localCandidateId), byId.get(pair.remoteCandidateId)];
    return {
      local: local.candidateType,
      remote: remote.candidateType,
      port: local.port,
      protocol: local.relayProtocol ?? local.protocol,
      rtt: pair.currentRoundTripTime,
    };
  };
  const framesDecoded = async () =>
    (await stats())
      .filter((s) => s.type === 'inbound-rtp' && s.kind === 'video')
      .reduce((most, s) => Math.max(most, s.framesDecoded ?? 0), 0);

  return {
    name,
    page,
    log,
    selected,
    /** The ICE user name of this side: a new one says that ICE was restarted. */
    iceUser: async () => (await stats()).find((s) => s.type === 'transport')?.iceLocalUsernameFragment,
    /** The IP address of the relay that this side has, undefined if there is none. */
    relayAddress: async () => (await stats()).find((s) => s.type === 'local-candidate' && s.candidateType === 'relay')?.address,
    connected: () =>
      wait('connected', () => page.evaluate(() => window.recorded.some((pc) => pc.connectionState === 'connected')), {
        timeout: 60_000,
      }),
    /** Waits until `count` more video frames of the other side were decoded here. */
    watch: async (count = 15) => {
      const before = await framesDecoded();
      return wait(`${count} more frames decoded than ${before}`, async () => (await framesDecoded()) >= before + count, {
        timeout: 60_000,
      });
    },
    /** Waits until a second's worth of pictures came within a second or so: a picture that was still on its way is none. */
    flowsAgain: () =>
      wait('pictures flow again', async () => {
        const before = await framesDecoded();
        await sleep(500);
        return (await framesDecoded()) - before >= 5;
      }, { timeout: 60_000, every: 0 }),
    wait,
    /** How many others the page believes to be in the room. */
    others: () => page.evaluate(() => window.callgate.room.peers.size),
    /**
     * Waits until the page says how the call is connected, and says it right: it looks every few seconds only, and ICE
     * may find a better way meanwhile. Resolves to the selected pair, which is a `direct` one if that is asked for.
     */
    way: ({ direct = false } = {}) =>
      wait(direct ? 'a direct way, and the page says so' : 'the page says the way', async () => {
        const pair = await selected();
        if (!pair || (direct && isRelayed(pair))) return undefined;
        const text = await page.getByTestId('route-text').textContent();
        const said = `${isRelayed(pair) ? 'Relayed' : 'Direct'} over ${pair.protocol.toUpperCase()}`;
        return text.startsWith(said) && pair;
      }),
    screenshot: (title) => {
      mkdirSync(artifacts, { recursive: true });
      return page.screenshot({ path: join(artifacts, `${title}-${name}.png`) });
    },
    close: () => browser.close(),
  };
}

/** For the error of a wait in vain. */
function describe() {
  const states = window.recorded.map((pc) => `${pc.signalingState}/${pc.iceConnectionState}/${pc.connectionState}`);
  return `connections: ${states.join(', ') || 'none'}\n${document.body.innerText.slice(0, 500)}`;
}

/**
 * Sends a text over a data channel and waits for its echo, both ways in turn; resolves to the round trips in ms. The
 * channel is agreed out of band, so it needs no help from the page beyond the connection itself.
 */
export async function pingBothWays(...peers) {
  for (const peer of peers) {
    await peer.page.evaluate(() => {
      const live = window.recorded.filter((pc) => pc.connectionState === 'connected').at(-1);
      const channel = live.createDataChannel('lab', { negotiated: true, id: 900 });
      channel.onmessage = ({ data }) => {
        if (data.startsWith('ping')) channel.send(data.replace('ping', 'pong'));
        else window.labEchoes.push(data);
      };
      window.labEchoes = [];
      window.labChannel = channel;
    });
  }
  // What comes before the channel is open here is lost.
  const open = (peer) => peer.wait('the data channel open', () => peer.page.evaluate(() => window.labChannel.readyState === 'open'));
  await Promise.all(peers.map(open));
  const trips = [];
  for (const peer of peers) {
    const trip = await peer.page.evaluate(async (name) => {
      const begun = performance.now();
      window.labChannel.send(`ping of ${name}`);
      while (!window.labEchoes.includes(`pong of ${name}`)) {
        if (performance.now() - begun > 60_000) return undefined;
        await new Promise((done) => setTimeout(done, 1));
      }
      return performance.now() - begun;
    }, peer.name);
    if (trip === undefined) {
      const states = await Promise.all(peers.map(async ({ name, page }) => `${name}: ${await page.evaluate(describe)}`));
      throw new Error(`${peer.name}: no echo over the data channel\n${states.join('\n')}`);
    }
    trips.push(trip);
  }
  return trips;
}
