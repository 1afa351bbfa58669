/** Renew the token when this part of its life is over. */
const RENEW = 0.8;
const AGAIN = 5_000;
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * The user's token, or where tokens come from: a function is asked for one whenever we connect, and for the next before it
 * ends, so that the session goes on.
 */
export class Token {
  #source;
  #socket;
  #timer;
  /** The last one was refused, and nobody has come in since. */
  #refused = false;

  constructor(source) {
    this.#source = source;
  }

  /** What is shown on connecting. */
  async shown() {
    const token = typeof this.#source === 'function' ? await this.#source() : this.#source;
    this.#plan(token);
    return token;
  }

  /** Renews it over this socket. */
  use(socket) {
    this.#socket = socket;
    socket.on('connect', () => (this.#refused = false));
  }

  /** Whether it is worth connecting again after this refusal: once, with the next one. */
  another(error) {
    if (typeof this.#source !== 'function' || error.message !== 'token-expired') return false;
    const again = !this.#refused;
    this.#refused = true;
    return again;
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#socket = undefined;
  }

  #plan(token) {
    clearTimeout(this.#timer);
    if (typeof this.#source !== 'function') return;
    const left = end(token) - Date.now();
    if (left > 0) this.#timer = setTimeout(() => this.#renew(), Math.min(left * RENEW, LONGEST_TIMER));
  }

  async #renew() {
    const again = () => (this.#timer = this.#socket && setTimeout(() => this.#renew(), AGAIN));
    try {
      const token = await this.#source();
      if (!this.#socket) return;
      // Not connected: whoever connects asks for one then.
      if (!this.#socket.connected) return;
      const ack = await this.#socket.timeout(AGAIN).emitWithAck('auth.refresh', { token });
      if (ack?.ok) this.#plan(token);
      else again();
    } catch {
      again();
    }
  }
}

/** When a JWT ends, in ms since 1970; NaN if it does not say. */
function end(token) {
  try {
    const [, payload] = String(token).split('.');
    return JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/'))).exp * 1000;
  } catch {
    return NaN;
  }
}
