import { $, el, say } from './dom.js';

const KEPT = 500;

/** The chat beside the call. `send(text)` delivers, and rejects if it could not. */
export class Chat {
  #send;
  #unread = 0;
  #lastFrom;

  constructor(send) {
    this.#send = send;
    $('chat-toggle').addEventListener('click', () => this.toggle());
    $('chat-close').addEventListener('click', () => this.toggle(false));
    $('chat').addEventListener('keydown', ({ key }) => key === 'Escape' && this.toggle(false));
    $('chat-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = $('chat-text').value.trim();
      if (!text) return;
      $('chat-text').value = '';
      this.#deliver(text);
    });
  }

  get open() {
    return !$('chat').hidden;
  }

  toggle(open = !this.open) {
    if (open === this.open) return;
    $('chat').hidden = !open;
    $('call').dataset.chat = open ? 'open' : 'closed';
    $('chat-toggle').setAttribute('aria-expanded', String(open));
    if (open) {
      this.#count(0);
      $('chat-log').scrollTop = $('chat-log').scrollHeight;
      $('chat-text').focus();
    } else if ($('call').hidden === false) $('chat-toggle').focus();
  }

  clear() {
    this.toggle(false);
    this.#count(0);
    this.#lastFrom = undefined;
    $('chat-log').replaceChildren();
    $('chat-empty').hidden = false;
  }

  received({ from, name, text, createdAt }) {
    const who = name || 'Guest';
    this.#append({ from, who, text, at: createdAt });
    if (this.open) return;
    this.#count(this.#unread + 1);
    // The open log is read by itself.
    say(`${who} writes: ${text}`);
  }

  async #deliver(text) {
    const line = this.#append({ from: 'me', who: 'You', text, at: Date.now(), own: true });
    line.classList.add('sending');
    try {
      await this.#send(text);
    } catch (error) {
      line.classList.add('unsent');
      line.append(el('span', { class: 'why' }, `Not sent: ${error.message || error.code}`));
      say('The message was not sent.', { urgent: true });
    }
    line.classList.remove('sending');
  }

  #append({ from, who, text, at, own = false }) {
    const log = $('chat-log');
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    const date = new Date(at ?? Date.now());
    const time = Number.isNaN(date.getTime()) ? '' : date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const line = el('div', { class: own ? 'line own' : 'line', 'data-testid': 'chat-line' });
    if (this.#lastFrom !== from) line.append(el('p', { class: 'who' }, el('b', {}, who), ' ', el('time', {}, time)));
    else line.append(el('span', { class: 'unseen' }, `${who}: `));
    line.append(el('p', { class: 'text', dir: 'auto' }, ...withLinks(text)));
    this.#lastFrom = from;
    $('chat-empty').hidden = true;
    log.append(line);
    while (log.children.length > KEPT) log.firstChild.remove();
    if (atEnd || own) log.scrollTop = log.scrollHeight;
    return line;
  }

  #count(unread) {
    this.#unread = unread;
    const badge = $('unread');
    badge.hidden = unread === 0;
    badge.replaceChildren(String(unread), el('span', { class: 'unseen' }, ' unread'));
  }
}

/** Addresses in a text become links; everything else stays text. */
function withLinks(text) {
  return text.split(/(https?:\/\/[^\s<>"]+)/g).map((part, i) =>
    i % 2 && URL.canParse(part) ? el('a', { href: part, target: '_blank', rel: 'noopener noreferrer' }, part) : part,
  );
}
