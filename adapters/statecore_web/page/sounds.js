// The sounds of the page, made here: nothing to download, and nobody's recording.

let context = null;
let stopRing = () => {};

/** To be called from a click or key: browsers are silent before the first. Resolves once there may be sound. */
export function unlock() {
  context ??= new AudioContext();
  return context.resume().catch(() => {}); // where there is no loudspeaker
}

const audible = () => context?.state === "running";

function tone(frequencies, start, length, volume) {
  const gain = context.createGain();
  gain.connect(context.destination);
  gain.gain.setValueAtTime(0, start);
  gain.gain.linearRampToValueAtTime(volume, start + 0.02);
  gain.gain.setValueAtTime(volume, start + length - 0.04);
  gain.gain.linearRampToValueAtTime(0, start + length);
  for (const frequency of frequencies) {
    const source = context.createOscillator();
    source.type = "sine";
    source.frequency.value = frequency;
    source.connect(gain);
    source.start(start);
    source.stop(start + length);
  }
  return gain;
}

/** From when there may be sound, which is now or at the first click or key, until it is stopped. */
function repeat(play, every) {
  silence();
  let stopped = false;
  let timer = 0;
  let gains = [];
  const again = () => {
    gains = play(context.currentTime + 0.02);
  };
  unlock().then(() => {
    if (stopped || !audible()) return;
    again();
    timer = setInterval(again, every * 1000);
  });
  stopRing = () => {
    stopped = true;
    clearInterval(timer);
    for (const gain of gains) gain.disconnect();
    stopRing = () => {};
  };
}

/** Somebody calls: a rising figure, twice. */
export function ringIn() {
  const figure = [659, 784, 988, 784];
  repeat((at) => [0, 0.75].flatMap((turn) => figure.map((hz, n) => tone([hz, hz * 2], at + turn + n * 0.15, 0.14, 0.08))), 3);
}

/** Somebody calls while one is in a call: quietly. */
export function waiting() {
  repeat((at) => [0, 0.25].map((turn) => tone([440], at + turn, 0.14, 0.03)), 5);
}

/** It rings at the other end. */
export function ringOut() {
  repeat((at) => [tone([425, 450], at, 1, 0.06)], 4);
}

export function silence() {
  stopRing();
}

export function connected() {
  chime([523, 784], 0.1, 0.12);
}

export function ended() {
  chime([494, 370], 0.14, 0.16);
}

/** One tone after another, now or not at all. */
function chime(frequencies, apart, length) {
  silence();
  if (audible()) frequencies.forEach((hz, n) => tone([hz], context.currentTime + n * apart, length, 0.06));
}
