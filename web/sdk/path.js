/**
 * Reads the path a connection takes out of its statistics (an RTCStatsReport); undefined before there is one.
 * `path` is "relayed" as soon as one of the two ends is a relay. `protocol` is what leaves this browser: the leg to
 * our relay (udp, tcp or tls), or the direct packets (udp or tcp).
 */
export function pathOf(report) {
  const pair = selectedPair(report);
  const local = pair && report.get(pair.localCandidateId);
  const remote = pair && report.get(pair.remoteCandidateId);
  if (!local || !remote) return undefined;
  const relayed = [local, remote].map((end) => end.candidateType === 'relay');
  return {
    path: relayed.includes(true) ? 'relayed' : 'direct',
    relays: relayed[0] && relayed[1] ? 'both' : relayed[0] ? 'local' : relayed[1] ? 'remote' : 'none',
    protocol: (local.candidateType === 'relay' && local.relayProtocol) || local.protocol,
    roundTrip: pair.currentRoundTripTime === undefined ? undefined : pair.currentRoundTripTime * 1000,
    bytesSent: pair.bytesSent ?? 0,
    bytesReceived: pair.bytesReceived ?? 0,
    local: end(local),
    remote: end(remote),
  };
}

function selectedPair(report) {
  const all = [...report.values()];
  const id = all.find((s) => s.type === 'transport' && s.selectedCandidatePairId)?.selectedCandidatePairId;
  // Firefox marks the pair itself.
  return id ? report.get(id) : all.find((s) => s.type === 'candidate-pair' && (s.selected || (s.nominated && s.state === 'succeeded')));
}

function end({ candidateType, protocol, relayProtocol, url }) {
  return { type: candidateType, protocol, relayProtocol, url };
}
