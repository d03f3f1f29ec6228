// Who hears what: handlers by event name, and listeners under an id with a method for each event.

const method = (event) => `on${event.replace(/(^|_)(\w)/g, (_, __, letter) => letter.toUpperCase())}`;

export class Listeners {
  constructor() {
    this.byId = new Map();
    this.next = 0;
  }

  /** Registering an id again replaces what stands under it. Gives a function that removes it. */
  add(id, listener) {
    this.byId.set(id, listener);
    return () => this.byId.get(id) === listener && this.byId.delete(id);
  }

  remove(id) {
    return this.byId.delete(id);
  }

  /** One handler for one event; "*" hears every one, with its name first. */
  on(event, handler) {
    this.next += 1;
    return this.add(this.next, { [event === "*" ? "*" : method(event)]: handler });
  }

  emit(event, ...args) {
    for (const [id, listener] of [...this.byId]) {
      if (this.byId.get(id) !== listener) continue; // removed by a handler
      try {
        listener["*"]?.(event, ...args);
        const done = listener[method(event)]?.(...args);
        done?.catch?.((error) => this.failed(error, event));
      } catch (error) {
        this.failed(error, event);
      }
    }
  }

  /** A handler that throws harms neither the call nor the others. */
  failed(error, event) {
    console.error("statecore: a listener failed in", event, error);
    if (event !== "error") this.emit("error", error);
  }
}
