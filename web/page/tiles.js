import { $, el, icon } from './dom.js';

const SHAPE = 16 / 9;
const LISTEN = 250;

/** The others' pictures, laid out so that they are as large as they can be. */
export class Tiles {
  #tiles = new Map();
  #place = $('tiles');
  #timer;

  constructor() {
    new ResizeObserver(() => this.#fit()).observe(this.#place);
    $('unmute-all').addEventListener('click', () => {
      $('unmute-all').hidden = true;
      for (const tile of this.#tiles.values()) tile.play();
    });
  }

  add(peer) {
    if (this.#tiles.has(peer.peerId)) return;
    const tile = new Tile(peer);
    this.#tiles.set(peer.peerId, tile);
    this.#place.append(tile.element);
    this.#timer ??= setInterval(() => this.#tiles.forEach((each) => each.listen()), LISTEN);
    this.#fit();
  }

  remove(peer) {
    this.#tiles.get(peer.peerId)?.remove();
    this.#tiles.delete(peer.peerId);
    this.#fit();
  }

  refresh(peer) {
    this.#tiles.get(peer.peerId)?.show();
  }

  clear() {
    for (const tile of this.#tiles.values()) tile.remove();
    this.#tiles.clear();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #fit() {
    const n = this.#tiles.size;
    const { clientWidth: width, clientHeight: height } = this.#place;
    if (!n || !width || !height) return;
    const gap = 12;
    let best = { area: 0 };
    for (let columns = 1; columns <= n; columns += 1) {
      const rows = Math.ceil(n / columns);
      const cell = { w: (width - gap * (columns - 1)) / columns, h: (height - gap * (rows - 1)) / rows };
      // Never wider than a camera's picture; taller than wide only on a phone held upright.
      const w = Math.min(cell.w, cell.h * SHAPE);
      const h = Math.min(cell.h, width < height ? w * 1.25 : w / 1.25);
      if (w * h > best.area) best = { area: w * h, w, h };
    }
    this.#place.style.setProperty('--tile-width', `${Math.floor(best.w)}px`);
    this.#place.style.setProperty('--tile-height', `${Math.floor(best.h)}px`);
    for (const tile of this.#tiles.values()) tile.fit(best.w / best.h);
  }
}

/** What people call them; never empty. */
export const nameOf = (peer) => peer.name || 'Guest';

class Tile {
  #peer;
  #shape = SHAPE;

  constructor(peer) {
    this.#peer = peer;
    const name = nameOf(peer);
    this.video = el('video', { autoplay: true, playsInline: true });
    this.avatar = el('span', { class: 'avatar', 'aria-hidden': 'true' }, initials(name));
    this.status = el('p', { class: 'tile-status' });
    this.muted = el('span', { class: 'tile-muted', title: 'Muted' }, icon('mic-off'), el('span', { class: 'unseen' }, 'muted'));
    this.element = el(
      'article',
      { class: 'tile', 'aria-label': name, 'data-testid': 'tile', 'data-peer': peer.peerId },
      this.video,
      this.avatar,
      this.status,
      el('p', { class: 'tile-name' }, el('span', {}, name), this.muted),
    );
    this.element.dataset.hue = String([...peer.peerId].reduce((sum, c) => sum + c.charCodeAt(0), 0) % 5);
    this.video.addEventListener('loadedmetadata', () => this.fit(this.#shape));
    this.video.addEventListener('resize', () => this.fit(this.#shape));
    this.show();
  }

  show() {
    const { connection, away, state, pc } = this.#peer;
    const stream = [...this.#peer.streams.values()][0];
    if (stream && this.video.srcObject !== stream) {
      this.video.srcObject = stream;
      this.play();
    }
    const picture = stream?.getVideoTracks().some((track) => track.readyState === 'live') && state.video !== false;
    this.element.dataset.picture = String(Boolean(picture));
    this.muted.hidden = state.audio !== false;
    const shaky = ['disconnected', 'failed'].includes(pc.iceConnectionState);
    const text = shaky ? 'Reconnecting…' : connection === 'connected' ? '' : connection === 'failed' ? 'Reconnecting…' : 'Connecting…';
    this.status.textContent = text || (away ? 'Their connection is shaky' : '');
    this.element.dataset.state = text ? 'waiting' : away ? 'away' : 'here';
  }

  play() {
    this.video.play().catch((error) => {
      // Browsers let a page make sound only after the user touched it.
      if (error.name === 'NotAllowedError') $('unmute-all').hidden = false;
    });
  }

  /** Fills the tile if not too much of the picture is lost by it. */
  fit(shape) {
    this.#shape = shape;
    const { videoWidth: w, videoHeight: h } = this.video;
    if (!w || !h) return;
    const kept = Math.min(shape / (w / h), w / h / shape);
    this.video.classList.toggle('whole', kept < 0.42);
  }

  listen() {
    const receiver = this.#peer.pc.getReceivers().find(({ track }) => track.kind === 'audio');
    const level = receiver?.getSynchronizationSources?.()[0]?.audioLevel ?? 0;
    this.element.classList.toggle('speaking', level > 0.02 && this.#peer.state.audio !== false);
  }

  remove() {
    this.video.srcObject = null;
    this.element.remove();
  }
}

function initials(name) {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return letters.map((word) => [...word][0] ?? '').join('').toUpperCase();
}
