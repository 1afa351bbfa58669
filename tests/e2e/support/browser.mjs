// Debian's Chromium, headless, with fake camera and microphone; optionally inside a network namespace.

import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
];

/** Debian's wrapper script starts a second process; this is the browser itself. */
const executable = process.env.CHROMIUM ?? '/usr/lib/chromium/chromium';

/**
 * Opens a browser. `origin` is a plain-http origin that shall have a camera as if it were https; `netns` runs the
 * browser inside that network namespace; `ca` is the file of a certificate authority that it trusts, for pages and for TURN
 * over TLS. Playwright's `Browser`, with its folder removed on close.
 */
export async function openBrowser({ netns, origin, ca, args = [] } = {}) {
  const home = await mkdtemp(join(tmpdir(), 'callgate-browser-'));
  if (ca) await trust(home, ca);
  let executablePath = executable;
  if (netns) {
    // exec keeps the debugging pipe, and makes the browser the very process that Playwright started.
    executablePath = join(home, 'chromium');
    await writeFile(executablePath, `#!/bin/sh\nexec ip netns exec ${netns} ${executable} "$@"\n`);
    await chmod(executablePath, 0o755);
  }
  const browser = await chromium.launch({
    executablePath,
    chromiumSandbox: false,
    timeout: 120_000,
    env: { ...process.env, HOME: home },
    args: [...flags, ...(origin ? [`--unsafely-treat-insecure-origin-as-secure=${origin}`] : []), ...args],
  });
  browser.on('disconnected', () => rm(home, { recursive: true, force: true, maxRetries: 5 }).catch(() => {}));
  return browser;
}

/** Chromium reads the authorities that its user trusts from here. */
async function trust(home, ca) {
  const store = join(home, '.pki/nssdb');
  await mkdir(store, { recursive: true });
  for (const args of [['-N', '--empty-password'], ['-A', '-n', 'callgate test CA', '-t', 'C,,', '-i', ca]]) {
    execFileSync('certutil', ['-d', `sql:${store}`, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  }
}
