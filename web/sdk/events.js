// A list of listeners by name. `on` gives back the function that takes the listener off again.

export class Events {
  #listeners = new Map();

  on(name, listener) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(listener));
    return () => set.delete(listener);
  }

  once(name, listener) {
    const off = this.on(name, (event) => {
      off();
      listener(event);
    });
    return off;
  }

  /** Calls every listener; one that throws does not keep the others from hearing. */
  emit(name, event) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  hasListeners(name) {
    return (this.#listeners.get(name)?.size ?? 0) > 0;
  }
}
