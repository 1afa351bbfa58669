// NAT behaviour discovery (RFC 5780): Debian's client against two addresses with two ports each, on loopback and through NATs.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort, start } from '../e2e/support/callgate.mjs';

const execute = promisify(execFile);

/** Runs the client; `netns` is where. It says on standard output what it has found. */
async function discover(flags, { port, server = '127.0.0.1', local = '127.0.0.1', netns }) {
  const inside = netns ? ['ip', 'netns', 'exec', netns] : [];
  const args = [...inside, 'timeout', '60', 'turnutils_natdiscovery', ...flags.split(' '), '-p', port, '-L', local, server];
  const { stdout } = await execute(args[0], args.slice(1).map(String)).catch((error) => error);
  return stdout;
}

/** The addresses that an answer named under this title. */
const named = (text, title) => [...text.matchAll(new RegExp(`${title}: : (\\S+)`, 'g'))].map(([, address]) => address);

describe('on loopback', () => {
  let daemon, ports;

  before(async () => {
    ports = [await freePort('both'), await freePort('both')];
    const listen = ['127.0.0.1', '127.0.0.2'].flatMap((ip) => ports.map((port) => `${ip}:${port}`));
    daemon = await start({ config: { turn: { listen } } });
  });

  after(async () => {
    assert.equal(await daemon?.stop(), 0);
  });

  test('the client learns of the other address and gets an answer from each', async () => {
    const said = await discover('-m', { port: ports[0] });
    assert.ok(named(said, 'Other addr').includes(`127.0.0.2:${ports[1]}`), said);
    assert.ok(named(said, 'Response origin').includes(`127.0.0.2:${ports[0]}`), said);
    assert.match(said, /No NAT! \(Endpoint Independent Mapping\)/, said);
  });

  test('an answer comes from the other address and port when asked for', async () => {
    const said = await discover('-f', { port: ports[0] });
    assert.ok(named(said, 'Response origin').includes(`127.0.0.2:${ports[1]}`), said);
    assert.match(said, /NAT with Endpoint Independent Filtering!/, said);
  });

  test('padded requests get padded answers', async () => {
    const said = await discover('-f -P', { port: ports[1] });
    assert.ok(named(said, 'Response origin').includes(`127.0.0.2:${ports[0]}`), said);
  });

  test('an answer goes to the port that was asked for', async () => {
    const said = await discover('-t -T 1', { port: ports[0] });
    assert.match(said, /RFC 5780 response 2/, said);
  });

  test('hairpins and collisions can be looked for', async () => {
    assert.match(await discover('-H', { port: ports[0] }), /successful hairpinning/);
    assert.match(await discover('-c -A 127.0.0.3', { port: ports[0] }), /UDP reflexive addr: 127\.0\.0\.3:/);
  });
});

describe('with one address', () => {
  test('there is no other one, and no answer from it', async () => {
    const daemon = await start({});
    const said = await discover('-f', { port: daemon.turnPort });
    assert.deepEqual(named(said, 'Other addr'), [], said);
    assert.doesNotMatch(said, /RFC 5780 response 2/, said);
    assert.equal(await daemon.stop(), 0);
  });
});

describe('through a NAT', () => {
  const made = [];
  const name = (role) => `disc${process.pid}${role}`;
  const run = (command) => execFileSync('sh', ['-ec', command], { stdio: 'pipe' });
  const port = 3478;
  let daemon;

  // A run that is broken off leaves nothing either.
  const remove = () => made.splice(0).forEach((netns) => run(`ip netns del ${netns}`));
  process.once('exit', remove);

  before(async () => {
    for (const role of ['s', 'r', 'c']) {
      run(`ip netns add ${name(role)} && ip -n ${name(role)} link set lo up`);
      made.push(name(role));
    }
    const [server, router, client] = made;
    run(`ip link add out netns ${router} type veth peer name eth netns ${server}
      ip link add in netns ${router} type veth peer name eth netns ${client}
      for ns in ${server} ${client}; do ip -n $ns link set eth up; done
      ip -n ${router} link set out up; ip -n ${router} link set in up
      ip -n ${server} addr add 203.0.113.1/24 dev eth; ip -n ${server} addr add 203.0.113.2/24 dev eth
      ip -n ${router} addr add 203.0.113.9/24 dev out; ip -n ${router} addr add 10.9.0.1/24 dev in
      ip -n ${client} addr add 10.9.0.2/24 dev eth; ip -n ${client} route add default via 10.9.0.1
      ip netns exec ${router} sysctl -qw net.ipv4.ip_forward=1`);
    const listen = ['203.0.113.1', '203.0.113.2'].flatMap((ip) => [`${ip}:${port}`, `${ip}:${port + 1}`]);
    daemon = await start({ netns: server, config: { public: { addresses: ['203.0.113.1'] }, turn: { listen } } });
  });

  after(async () => {
    await daemon?.stop();
    remove();
  });

  /** What the client finds with masquerading of this kind. */
  async function found(masquerade, flags) {
    const [, router, netns] = made;
    run(`ip netns exec ${router} nft 'flush ruleset; add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; \
      add rule ip nat post oifname out ${masquerade}'`);
    return discover(flags, { port, server: '203.0.113.1', local: '10.9.0.2', netns });
  }

  test('a NAT that keeps ports is told from one that draws them anew', async () => {
    const cone = await found('masquerade persistent', '-m');
    assert.match(cone, /NAT with Endpoint Independent Mapping!/, cone);
    assert.match(cone, /UDP reflexive addr: 203\.0\.113\.9:/, cone);
    const symmetric = await found('masquerade random,fully-random', '-m');
    assert.match(symmetric, /NAT with Address and Port Dependent Mapping!/, symmetric);
  });

  test('a NAT that lets in only who was written to is found out', async () => {
    const said = await found('masquerade persistent', '-f');
    assert.match(said, /NAT with Address and Port Dependent Filtering!/, said);
  });
});
