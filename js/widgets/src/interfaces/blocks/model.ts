// What anywidget hands to a view, as far as the interfaces use it.

export interface Model {
  get(name: string): any; // eslint-disable-line @typescript-eslint/no-explicit-any
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
  send(content: unknown): void;
}

export interface View {
  model: Model;
  el: HTMLElement;
}

/** Call back at every change of these traits, until the function that is returned is called. */
export function follow(model: Model, names: string[], callback: () => void): () => void {
  const events = names.map((name) => `change:${name}`);
  for (const event of events) model.on(event, callback);
  return () => {
    for (const event of events) model.off(event, callback);
  };
}

/** Set a trait here and in Python. */
export function assign(model: Model, name: string, value: unknown): void {
  model.set(name, value);
  model.save_changes();
}
