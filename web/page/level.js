/** Calls `show` with the microphone's loudness (0 to 1) about 15 times a second. Gives back how to stop it. */
export function watchLevel(track, show) {
  const Context = window.AudioContext ?? window.webkitAudioContext;
  if (!Context || !track) return () => {};
  const audio = new Context();
  const source = audio.createMediaStreamSource(new MediaStream([track]));
  const analyser = new AnalyserNode(audio, { fftSize: 512 });
  const samples = new Float32Array(analyser.fftSize);
  source.connect(analyser);
  const timer = setInterval(() => {
    if (audio.state === 'suspended') audio.resume().catch(() => {});
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
    // -60 dB and below is silence, 0 dB is full.
    show(Math.min(1, Math.max(0, 1 + Math.log10(power + 1e-9) / 6)));
  }, 66);
  return () => {
    clearInterval(timer);
    source.disconnect();
    audio.close().catch(() => {});
    show(0);
  };
}
