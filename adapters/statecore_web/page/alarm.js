// A timer that keeps time in a page nobody looks at: browsers slow the timers of hidden pages to one a minute, those of
// workers not at all, and a device that is silent for so long is taken for gone.

const WORKER = `
let timer;
onmessage = ({ data }) => {
  clearTimeout(timer);
  if (data !== null) timer = setTimeout(() => postMessage(0), data);
};
`;

export class Alarm {
  constructor(ring) {
    this.ring = ring;
    this.timer = 0;
    this.worker = null;
    try {
      const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
      this.worker = new Worker(url);
      URL.revokeObjectURL(url);
      this.worker.onmessage = ring;
      this.worker.onerror = () => {
        this.worker = null; // the page forbids it
      };
    } catch {
      this.worker = null;
    }
  }

  /** Ring once, in so many milliseconds. */
  set(milliseconds, wanted) {
    const delay = wanted ? Math.max(5, milliseconds) : null;
    if (this.worker) {
      this.worker.postMessage(delay);
      return;
    }
    clearTimeout(this.timer);
    if (delay !== null) this.timer = setTimeout(this.ring, delay);
  }

  close() {
    clearTimeout(this.timer);
    this.worker?.terminate();
  }
}
