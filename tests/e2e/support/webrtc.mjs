// Other people's WebRTC, each behind one small face: npm's werift and node-datachannel, with one data channel.
//
//   const peer = webrtc.werift({ servers, from: '127.0.0.2', offering: true, say: (kind, data) => …, heard: (text) => … });
//   peer.begin();                       // makes the offer
//   peer.signal(kind, data);            // what the other one said
//   await peer.opened;                  // the data channel
//   peer.send(text);  await peer.way();  await peer.close();
//
// `servers` are iceServers as the daemon hands them out; only relays are used. `from` is its own address, over UDP.
// Descriptions and candidates travel in the browsers' form.

import * as datachannel from 'node-datachannel';
import { RTCPeerConnection } from 'werift';

const label = 'interop';

function werift({ servers, from, offering, say, heard }) {
  const pc = new RTCPeerConnection({
    iceTransportPolicy: 'relay',
    iceInterfaceAddresses: { udp4: from },
    iceServers: servers.flatMap(({ urls, username, credential }) => [urls].flat().map((url) => ({ urls: url, username, credential }))),
  });
  let channel;
  let opened;
  const ready = new Promise((done) => (opened = done));
  const use = (made) => {
    channel = made;
    channel.onMessage.subscribe((text) => heard(text.toString()));
    if (channel.readyState === 'open') opened();
    else channel.stateChanged.subscribe((state) => state === 'open' && opened());
  };
  pc.onDataChannel.subscribe(use);
  pc.onIceCandidate.subscribe((candidate) => candidate && say('candidate', candidate.toJSON()));
  const describe = async (description) => {
    await pc.setLocalDescription(description);
    say(description.type, { type: description.type, sdp: pc.localDescription.sdp });
  };
  return {
    opened: ready,
    begin: async () => {
      if (!offering) return;
      use(pc.createDataChannel(label));
      await describe(await pc.createOffer());
    },
    signal: async (kind, data) => {
      if (kind === 'candidate') return data && pc.addIceCandidate(data);
      await pc.setRemoteDescription(data);
      if (kind === 'offer') await describe(await pc.createAnswer());
    },
    send: (text) => channel.send(text),
    way: async () => {
      const [transport] = pc.iceTransports;
      const { localCandidate, remoteCandidate } = transport.connection.nominated ?? {};
      return [localCandidate?.type, remoteCandidate?.type];
    },
    close: () => pc.close(),
  };
}

const leg = { udp: 'TurnUdp', tcp: 'TurnTcp', tls: 'TurnTls' };

function nodeDatachannel({ servers, from, offering, say, heard }) {
  const iceServers = servers.flatMap(({ urls, username, credential }) =>
    [urls].flat().filter((url) => url.startsWith('turn')).map((url) => {
      const [, scheme, hostname, port, transport] = /^(turns?):(.+?):(\d+)(?:\?transport=(\w+))?$/.exec(url);
      const relayType = leg[scheme === 'turns' ? 'tls' : (transport ?? 'udp')];
      return { hostname, port: Number(port), username, password: credential, relayType };
    }),
  );
  const pc = new datachannel.PeerConnection('interop', { iceServers, iceTransportPolicy: 'relay', bindAddress: from });
  let channel;
  let opened;
  const ready = new Promise((done) => (opened = done));
  const use = (made) => {
    channel = made;
    channel.onMessage((text) => heard(text.toString()));
    channel.onOpen(opened);
    if (channel.isOpen()) opened();
  };
  pc.onDataChannel(use);
  pc.onLocalDescription((sdp, type) => say(type.toLowerCase(), { type: type.toLowerCase(), sdp }));
  pc.onLocalCandidate((candidate, mid) => say('candidate', { candidate, sdpMid: mid, sdpMLineIndex: 0 }));
  // What comes before the description it belongs to has to wait.
  let described = false;
  const early = [];
  return {
    opened: ready,
    begin: async () => {
      if (offering) use(pc.createDataChannel(label));
    },
    signal: async (kind, data) => {
      if (kind === 'candidate') {
        if (!data?.candidate) return;
        if (!described) early.push(data);
        else pc.addRemoteCandidate(data.candidate, data.sdpMid ?? '0');
        return;
      }
      pc.setRemoteDescription(data.sdp, kind);
      described = true;
      early.splice(0).forEach(({ candidate, sdpMid }) => pc.addRemoteCandidate(candidate, sdpMid ?? '0'));
    },
    send: (text) => channel.sendMessage(text),
    way: async () => {
      const pair = pc.getSelectedCandidatePair();
      return [pair?.local.type, pair?.remote.type];
    },
    close: async () => pc.close(),
  };
}

export const webrtc = { werift, 'node-datachannel': nodeDatachannel };
