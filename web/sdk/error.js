/**
 * What went wrong, with a `code` that stays the same from release to release: the server's own
 * (bad-request, room-full, …) or one of this module: unreachable, timeout, closed.
 */
export class CallgateError extends Error {
  constructor(code, message, { retryAfter, command } = {}) {
    super(message ?? code);
    this.name = 'CallgateError';
    this.code = code;
    /** Seconds until it is worth trying again, if the server said so. */
    this.retryAfter = retryAfter;
    this.command = command;
  }

  static from(error, command) {
    return new CallgateError(error?.code ?? 'internal', error?.message, { retryAfter: error?.retryAfter, command });
  }
}
