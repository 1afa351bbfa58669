// A call's packets, and what becomes of them: loss and delay of a steady stream between two TURN clients.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const size = 172; // 20 ms of G.711

/**
 * Sends a packet from `one` to `two` and one back every `every` milliseconds, over the channel number `channel` of both, until
 * `while_` (a promise) is settled. Resolves to `{ sent, lost, loss, p50, p99, worst }`: counts, a fraction, milliseconds.
 */
export async function stream(one, two, { channel = 0x4000, every = 5, while_ }) {
  let going = true;
  const ended = while_.finally(() => (going = false));
  ended.catch(() => {}); // the caller's business
  const delays = [];
  const take = ({ payload }) => payload.length === size && delays.push(Number(process.hrtime.bigint() - payload.readBigUInt64BE(0)) / 1e6);
  for (const client of [one, two]) client.on('data', take);
  let sent = 0;
  const begun = performance.now();
  while (going) {
    // Timers are late under load; the stream's own rate is not.
    for (const due = 2 * ((performance.now() - begun) / every); sent < due; sent += 2) {
      for (const client of [one, two]) {
        const packet = Buffer.alloc(size);
        packet.writeBigUInt64BE(process.hrtime.bigint());
        client.sendOn(channel, packet);
      }
    }
    await sleep(every);
  }
  // The last ones are on their way, on a busy machine for a while.
  await sleep(300);
  for (const end = Date.now() + 3_000; delays.length < sent && Date.now() < end; ) await sleep(50);
  for (const client of [one, two]) client.off('data', take);
  delays.sort((a, b) => a - b);
  const at = (share) => delays[Math.min(delays.length - 1, Math.floor(share * delays.length))];
  const lost = sent - delays.length;
  return { sent, lost, loss: lost / sent, p50: at(0.5), p99: at(0.99), worst: at(1) };
}

export const told = ({ sent, lost, p50, p99, worst }) =>
  `${lost} of ${sent} lost, delay ${p50?.toFixed(2)} ms (median), ${p99?.toFixed(2)} (p99), ${worst?.toFixed(1)} (worst)`;

/** A process's resident memory in bytes. */
export function resident(pid) {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
}
