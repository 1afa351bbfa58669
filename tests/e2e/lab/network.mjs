// A small internet out of network namespaces.
//
//        client symA ── NAT ──┐                    ┌── NAT ── client coneC
//        10.1.0.2   symmetric │   bridge           │ port-      10.3.0.2
//                             ├─ 203.0.113.0/24 ───┤ restricted
//        client symB ── NAT ──┘   2001:db8::/64    └── NAT ── client coneD
//        10.2.0.2   symmetric       │        │                10.4.0.2
//                        server .10, ::10   client v6only 2001:db8::66, behind a firewall, without IPv4
//
// Everyone's way out of the bridge is a gateway that silently drops: a packet to somebody's private address is lost,
// as on the real internet, and does not come back as "network unreachable".

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';

/** The server's name; every client resolves it by its own hosts file. */
export const serverName = 'callgate.test';
export const serverAddresses = ['203.0.113.10', '2001:db8::10'];
export const internet = ['203.0.113.0/24', '2001:db8::/32'];

const prefix = 'cglab';
const natted = {
  symA: { lan: '10.1.0', wan: '203.0.113.21', masquerade: 'masquerade random,fully-random' },
  symB: { lan: '10.2.0', wan: '203.0.113.22', masquerade: 'masquerade random,fully-random' },
  coneC: { lan: '10.3.0', wan: '203.0.113.23', masquerade: 'masquerade persistent' },
  coneD: { lan: '10.4.0', wan: '203.0.113.24', masquerade: 'masquerade persistent' },
};

/** The clients there are, by the NAT that they are behind. */
export const places = [...Object.keys(natted), 'v6only'];

/**
 * Builds it all and returns `{ server, client: {place: namespace}, silence(place), slow(place, rate), heal(place), pids(place), close() }`.
 * Needs root. What crashed runs left behind goes first; `close` leaves nothing.
 */
export function buildNetwork() {
  removeStale();
  const names = [];
  const namespace = (name, hosts) => {
    const full = `${prefix}${process.pid}-${name}`;
    ip('netns', 'add', full);
    names.push(full);
    ip('-n', full, 'link', 'set', 'lo', 'up');
    if (hosts) {
      mkdirSync(`/etc/netns/${full}`, { recursive: true });
      writeFileSync(`/etc/netns/${full}/hosts`, hosts);
    }
    return full;
  };
  const close = () => names.forEach(remove);
  process.once('exit', close);

  try {
    const bridge = namespace('internet');
    ip('-n', bridge, 'link', 'add', 'name', 'br0', 'type', 'bridge');
    up(bridge, 'br0', '203.0.113.254/24', '2001:db8::fe/64');
    nft(
      bridge,
      `table inet gateway {
         chain inbound { type filter hook input priority 0; policy drop; meta l4proto icmpv6 accept; }
       }`,
    );
    const attach = (name, device, ...addresses) => {
      const port = `p${name.split('-').at(-1)}`;
      ip('link', 'add', 'name', device, 'netns', name, 'type', 'veth', 'peer', 'name', port, 'netns', bridge);
      ip('-n', bridge, 'link', 'set', port, 'master', 'br0', 'up');
      up(name, device, ...addresses);
      for (const address of addresses) {
        if (address.includes(':')) ip('-n', name, '-6', 'route', 'add', 'default', 'via', '2001:db8::fe');
        else ip('-n', name, 'route', 'add', 'default', 'via', '203.0.113.254');
      }
    };

    const server = namespace('server');
    attach(server, 'eth0', `${serverAddresses[0]}/24`, `${serverAddresses[1]}/64`);

    const client = {};
    const guard = {}; // the namespace in which a place's traffic can be cut
    for (const [place, { lan, wan, masquerade }] of Object.entries(natted)) {
      const router = namespace(`nat${place}`);
      guard[place] = router;
      client[place] = namespace(place, hosts(serverAddresses[0]));
      attach(router, 'wan', `${wan}/24`);
      ip('link', 'add', 'name', 'eth0', 'netns', client[place], 'type', 'veth', 'peer', 'name', 'lan', 'netns', router);
      up(router, 'lan', `${lan}.1/24`);
      up(client[place], 'eth0', `${lan}.2/24`);
      ip('-n', client[place], 'route', 'add', 'default', 'via', `${lan}.1`);
      ip('netns', 'exec', router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
      // What comes in unasked is dropped before conntrack remembers it: a remembered early packet of the peer would
      // occupy the very mapping that the answer needs.
      nft(
        router,
        `table ip nat {
           chain post { type nat hook postrouting priority srcnat; oifname "wan" ${masquerade}; }
         }
         table ip guard {
           chain inbound { type filter hook input priority 0; iifname "wan" drop; }
           chain through { type filter hook forward priority 0; iifname "wan" ct state new,invalid drop; }
           chain burden { type filter hook forward priority 1; }
         }`,
      );
    }

    client.v6only = guard.v6only = namespace('v6only', hosts(serverAddresses[1]));
    attach(client.v6only, 'eth0', '2001:db8::66/64');
    nft(
      client.v6only,
      `table inet guard {
         chain inbound { type filter hook input priority 0; iifname "lo" accept; meta l4proto icmpv6 accept; ct state new,invalid drop; }
       }`,
    );

    return {
      server,
      client,
      /** From now on nothing that this client sends or is sent arrives, and nobody is told. */
      silence: (place) => nft(guard[place], 'add rule ip guard burden drop'),
      /** From now on this client has so many kilobytes a second, both ways together; what is over is lost. */
      slow: (place, rate) => nft(guard[place], `add rule ip guard burden limit rate over ${rate} kbytes/second drop`),
      heal: (place) => nft(guard[place], 'flush chain ip guard burden'),
      /** Everything that runs in this client's namespace. */
      pids: (place) => pidsIn(client[place]),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** Ends every process in the namespace, then removes it. */
function remove(name) {
  if (existsSync(`/run/netns/${name}`)) {
    for (const pid of pidsIn(name)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it ended by itself
      }
    }
    ip('netns', 'del', name);
  }
  rmSync(`/etc/netns/${name}`, { recursive: true, force: true });
}

/** A run that crashed leaves namespaces named after a process that no longer is. */
function removeStale() {
  const listed = ['/run/netns', '/etc/netns'].flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : []));
  for (const name of new Set(listed)) {
    const [, pid] = new RegExp(`^${prefix}(\\d+)-`).exec(name) ?? [];
    if (pid && !existsSync(`/proc/${pid}`)) remove(name);
  }
}

function pidsIn(name) {
  return ip('netns', 'pids', name).split('\n').filter(Boolean).map(Number);
}

function up(name, device, ...addresses) {
  for (const address of addresses) {
    const nodad = address.includes(':') ? ['nodad'] : [];
    ip('-n', name, 'address', 'add', address, 'dev', device, ...nodad);
  }
  ip('-n', name, 'link', 'set', device, 'up');
}

/** Chromium looks the host of a turn: URL up with a trailing dot. */
function hosts(address) {
  return `127.0.0.1 localhost\n::1 localhost\n${address} ${serverName} ${serverName}.\n`;
}

function ip(...args) {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function nft(name, rules) {
  execFileSync('ip', ['netns', 'exec', name, 'nft', '-f', '-'], { input: rules + '\n', stdio: ['pipe', 'ignore', 'pipe'] });
}
