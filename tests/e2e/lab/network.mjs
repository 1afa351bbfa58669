// A small internet out of network namespaces.
//
//        client symA ── NAT ──┐                    ┌── NAT ── client coneC
//        10.1.0.2   symmetric │   bridge           │ port-      10.3.0.2
//                             ├─ 203.0.113.0/24 ───┤ restricted
//        client symB ── NAT ──┤   2001:db8::/64    └── NAT ── client coneD
//        10.2.0.2   symmetric │     │        │                10.4.0.2
//                             │  server      client v6only 2001:db8::66, behind a firewall, without IPv4
//                             │  .10, ::10   client v6noUdp ::67, the same without UDP
//                             │
//         symmetric NATs, too, ├── firewall without UDP ────────────── client noUdp   10.5.0.2
//         and their clients    ├── firewall with TCP port 443 only ─── client only443 10.6.0.2
//                              └── two of them, one at a time ──────── client roamer  10.7.0.2, then 10.8.0.2
//
// With `oneToOne` the server has 10.9.0.5 alone, and a router in front of it makes 203.0.113.10 of that, without hairpin:
// the server does not reach itself under its public address.
//
// Everyone's way out of the bridge is a gateway that silently drops: a packet to somebody's private address is lost,
// as on the real internet, and does not come back as "network unreachable".

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';

/** The server's name; every client resolves it by its own hosts file. */
export const serverName = 'callgate.test';
export const serverAddresses = ['203.0.113.10', '2001:db8::10'];
export const internet = ['203.0.113.0/24', '2001:db8::/32'];

/** The server's own address behind 1:1 NAT. */
export const insideAddress = '10.9.0.5';

const prefix = 'cglab';
const symmetric = 'masquerade random,fully-random';
const portRestricted = 'masquerade persistent';
/** Clients behind a NAT; `firewall` holds rules for what they send. */
const natted = {
  symA: { lan: '10.1.0', wan: '203.0.113.21', masquerade: symmetric },
  symB: { lan: '10.2.0', wan: '203.0.113.22', masquerade: symmetric },
  coneC: { lan: '10.3.0', wan: '203.0.113.23', masquerade: portRestricted },
  coneD: { lan: '10.4.0', wan: '203.0.113.24', masquerade: portRestricted },
  noUdp: { lan: '10.5.0', wan: '203.0.113.25', masquerade: symmetric, firewall: ['meta l4proto udp drop'] },
  only443: {
    ...{ lan: '10.6.0', wan: '203.0.113.26', masquerade: symmetric },
    firewall: ['meta l4proto != tcp drop', 'tcp dport != 443 drop'],
  },
};
/** Clients with several ways out, used one at a time. */
const roaming = {
  roamer: [
    { lan: '10.7.0', wan: '203.0.113.27', masquerade: symmetric },
    { lan: '10.8.0', wan: '203.0.113.28', masquerade: symmetric },
  ],
};
/** Clients without IPv4, on the bridge itself. */
const v6 = {
  v6only: { address: '2001:db8::66/64' },
  v6noUdp: { address: '2001:db8::67/64', firewall: ['meta l4proto udp drop'] },
};

/**
 * Builds the internet, the server and the `places` named, and returns `{ server, client: {place: namespace}, silence(place),
 * slow(place, rate), heal(place), swap(place), addresses(place),
 * reaches(place, what), pids(place), close() }`.
 * Needs root. What crashed runs left behind goes first; `close` leaves nothing.
 */
export function buildNetwork({ places, oneToOne = false }) {
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
       }
       table bridge guard {
         chain through { type filter hook forward priority 0; }
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
      return port;
    };
    /** A router between the internet and a private network; `rules` is its nft ruleset. */
    const router = (name, wan, lan, rules) => {
      const full = namespace(name);
      attach(full, 'wan', `${wan}/24`);
      ip('-n', full, 'link', 'add', 'name', 'lan', 'type', 'bridge');
      up(full, 'lan', `${lan}.1/24`);
      ip('netns', 'exec', full, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
      nft(full, rules);
      return full;
    };
    const plug = (name, device, into, port) => {
      ip('link', 'add', 'name', device, 'netns', name, 'type', 'veth', 'peer', 'name', port, 'netns', into);
      ip('-n', into, 'link', 'set', port, 'master', 'lan', 'up');
    };

    const server = namespace('server');
    if (oneToOne) {
      const outside = serverAddresses[0];
      const inFront = router('natserver', outside, '10.9.0', mapping(outside));
      plug(server, 'eth0', inFront, 'server');
      connect(server, 'eth0', '10.9.0', insideAddress);
    } else {
      attach(server, 'eth0', `${serverAddresses[0]}/24`, `${serverAddresses[1]}/64`);
    }

    const client = {};
    const guard = {}; // the namespace in which a place's traffic can be cut
    const uplink = {};
    for (const place of places) {
      if (natted[place]) {
        const { lan, wan } = natted[place];
        guard[place] = router(`nat${place}`, wan, lan, nat(natted[place]));
        client[place] = namespace(place, hosts(serverAddresses[0]));
        plug(client[place], 'eth0', guard[place], 'client');
        connect(client[place], 'eth0', lan);
      } else if (roaming[place]) {
        client[place] = namespace(place, hosts(serverAddresses[0]));
        roaming[place].forEach((way, i) => {
          plug(client[place], `eth${i}`, router(`nat${i}${place}`, way.wan, way.lan, nat(way)), 'client');
        });
        uplink[place] = 0;
        connect(client[place], 'eth0', roaming[place][0].lan);
      } else if (v6[place]) {
        const { address, firewall = [] } = v6[place];
        client[place] = guard[place] = namespace(place, hosts(serverAddresses[1]));
        const port = attach(client[place], 'eth0', address);
        // In the client's own namespace it would be told of what is dropped.
        for (const rule of firewall) nft(bridge, `add rule bridge guard through iifname "${port}" ${rule}`);
        nft(
          client[place],
          `table inet guard {
             chain inbound { type filter hook input priority 0; iifname "lo" accept; meta l4proto icmpv6 accept; ct state new,invalid drop; }
           }`,
        );
      } else {
        throw new Error(`there is no place ${place}`);
      }
    }

    return {
      server,
      client,
      /** From now on nothing that this client sends or is sent arrives, and nobody is told. */
      silence: (place) => nft(guard[place], 'add rule ip guard burden drop'),
      /** From now on this client has so many kilobytes a second, both ways together; what is over is lost. */
      slow: (place, rate) => nft(guard[place], `add rule ip guard burden limit rate over ${rate} kbytes/second drop`),
      heal: (place) => nft(guard[place], 'flush chain ip guard burden'),
      /** The client's interface goes away, and its next one comes up: another network, another address. */
      swap(place) {
        const [from, to] = [uplink[place], (uplink[place] + 1) % roaming[place].length];
        ip('-n', client[place], 'address', 'flush', 'dev', `eth${from}`);
        ip('-n', client[place], 'link', 'set', `eth${from}`, 'down');
        connect(client[place], `eth${to}`, roaming[place][to].lan);
        uplink[place] = to;
      },
      /** The addresses that a client has, without those that are good on its own wire only. */
      addresses(place) {
        const devices = JSON.parse(ip('-j', '-n', client[place], 'address', 'show', 'scope', 'global'));
        return devices.flatMap(({ addr_info = [] }) => addr_info.map(({ local }) => local)).filter(Boolean);
      },
      /** Whether a request from a place gets to the server at its public address and is answered; `what` is e.g. "udp 3478". */
      reaches(place, what) {
        const [protocol, port] = what.split(' ');
        const from = place === 'server' ? server : client[place];
        const host = serverAddresses[v6[place] ? 1 : 0];
        const run = ['netns', 'exec', from, process.execPath, '-e', probes[protocol], host, port];
        return spawnSync('ip', run, { stdio: 'ignore' }).status === 0;
      },
      /** Everything that runs in this client's namespace. */
      pids: (place) => pidsIn(client[place]),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function connect(name, device, lan, address = `${lan}.2`) {
  up(name, device, `${address}/24`);
  ip('-n', name, 'route', 'add', 'default', 'via', `${lan}.1`);
}

/**
 * What comes in unasked is dropped before conntrack remembers it: a remembered early packet of the peer would occupy the
 * very mapping that the answer needs.
 */
function nat({ masquerade, firewall = [] }) {
  return `
    table ip nat {
      chain post { type nat hook postrouting priority srcnat; oifname "wan" ${masquerade}; }
    }
    table ip guard {
      chain inbound { type filter hook input priority 0; iifname "wan" drop; }
      chain through { type filter hook forward priority 0; iifname "wan" ct state new,invalid drop; }
      chain firewall { type filter hook forward priority 2; ${firewall.map((rule) => `iifname "lan" ${rule};`).join(' ')} }
      chain burden { type filter hook forward priority 1; }
    }`;
}

/** 1:1, all ports, both ways. */
function mapping(outside) {
  return `
    table ip nat {
      chain pre { type nat hook prerouting priority dstnat; iifname "wan" ip daddr ${outside} dnat to ${insideAddress}; }
      chain post { type nat hook postrouting priority srcnat; oifname "wan" ip saddr ${insideAddress} snat to ${outside}; }
    }
    table ip guard {
      chain inbound { type filter hook input priority 0; policy drop; }
    }`;
}

/** Scripts that end with 0 when the server answers within some seconds: a Binding over UDP, a connection over TCP. */
const probes = {
  udp: `
    const socket = require('dgram').createSocket(process.argv[1].includes(':') ? 'udp6' : 'udp4');
    socket.once('message', () => process.exit(0)).once('error', () => process.exit(1));
    const ask = () => socket.send(Buffer.from('000100002112a442' + '01'.repeat(12), 'hex'), process.argv[2], process.argv[1]);
    ask();
    setInterval(ask, 500);
    setTimeout(() => process.exit(1), 4000);`,
  tcp: `
    require('net').connect(process.argv[2], process.argv[1]).once('connect', () => process.exit(0)).once('error', () => process.exit(1));
    setTimeout(() => process.exit(1), 4000);`,
};

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
