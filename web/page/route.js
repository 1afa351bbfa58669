import { $, el, icon } from './dom.js';
import { nameOf } from './tiles.js';

const protocols = { udp: 'UDP', tcp: 'TCP', tls: 'TLS' };

/** The line that says how the call is connected, and the panel behind it with the switch that forces the relay. */
export class Route {
  #known = new Map();
  #peers = () => [];

  constructor(onRelay) {
    $('route').addEventListener('click', () => this.toggle());
    $('relay-switch').addEventListener('change', ({ target }) => onRelay(target.checked));
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || $('route-panel').hidden) return;
      this.toggle(false);
      $('route').focus();
    });
    document.addEventListener('pointerdown', ({ target }) => {
      if (!$('route-panel').hidden && !target.closest('.route-place')) this.toggle(false);
    });
  }

  begin(peers, relayOnly) {
    this.#peers = peers;
    this.#known.clear();
    $('relay-switch').checked = relayOnly;
    this.toggle(false);
    this.show();
  }

  toggle(open = $('route-panel').hidden) {
    $('route-panel').hidden = !open;
    $('route').setAttribute('aria-expanded', String(open));
  }

  /** `info` as from the SDK's "stats" event. */
  learned(peer, info) {
    this.#known.set(peer.peerId, info);
    this.show();
  }

  forget(peer) {
    this.#known.delete(peer.peerId);
    this.show();
  }

  show() {
    const all = this.#peers().map((peer) => ({ peer, info: peer.connection === 'connected' ? this.#known.get(peer.peerId) : undefined }));
    const known = all.filter(({ info }) => info).map(({ info }) => info);
    const relayed = known.filter(({ path }) => path === 'relayed').length;
    $('route').dataset.path = known.length < all.length || !all.length ? 'none' : relayed ? 'relayed' : 'direct';
    $('route').querySelector('use').setAttribute('href', `#i-route-${$('route').dataset.path}`);
    $('route-text').textContent = summary(all, known, relayed);
    $('route-list').replaceChildren(...all.map(row));
    $('route-list').hidden = all.length === 0;
  }
}

function summary(all, known, relayed) {
  if (!all.length) return 'Nobody to connect to yet';
  if (!known.length) return 'Connecting…';
  if (all.length === 1) return sentence(known[0]);
  const parts = [];
  if (known.length - relayed) parts.push(`${known.length - relayed} direct`);
  if (relayed) parts.push(`${relayed} relayed`);
  if (all.length - known.length) parts.push(`${all.length - known.length} connecting`);
  return parts.join(', ');
}

function sentence({ path, protocol, roundTrip }) {
  const how = protocols[protocol] ?? protocol;
  const time = roundTrip === undefined ? '' : ` · ${roundTrip < 1 ? 'under 1' : Math.round(roundTrip)} ms`;
  return `${path === 'relayed' ? `Relayed over ${how}` : `Direct over ${how}`}${time}`;
}

function row({ peer, info }) {
  return el(
    'li',
    {},
    el('span', { class: 'route-mark', 'data-path': info?.path ?? 'none' }, icon(`route-${info?.path ?? 'none'}`)),
    el('span', { class: 'route-name' }, nameOf(peer)),
    el('span', { class: 'route-how' }, info ? sentence(info) : 'Connecting…'),
  );
}
