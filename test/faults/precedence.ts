/** "This before that", and why: an order exists if and only if there is no cycle. */

export class Precedence {
  readonly #names: string[] = [];
  readonly #after: { readonly to: number; readonly why: string }[][] = [];

  event(name: string): number {
    this.#after.push([]);
    return this.#names.push(name) - 1;
  }

  before(first: number, second: number, why: string): void {
    this.#after[first]!.push({ to: second, why });
  }

  /** Events and reasons along a cycle, the first event again at the end; null: there is none. */
  cycle(): string[] | null {
    const state = new Uint8Array(this.#names.length); // 0 new, 1 on the path, 2 done
    for (let root = 0; root < state.length; root++) {
      if (state[root] !== 0) continue;
      const path: { event: number; next: number }[] = [{ event: root, next: 0 }];
      state[root] = 1;
      while (path.length > 0) {
        const top = path.at(-1)!;
        const edge = this.#after[top.event]![top.next++];
        if (edge === undefined) {
          state[top.event] = 2;
          path.pop();
        } else if (state[edge.to] === 0) {
          state[edge.to] = 1;
          path.push({ event: edge.to, next: 0 });
        } else if (state[edge.to] === 1) {
          const from = path.findIndex((p) => p.event === edge.to);
          const loop = path.slice(from).flatMap(({ event, next }) => {
            const { why } = this.#after[event]![next - 1]!;
            return [this.#names[event]!, `(${why})`];
          });
          return [...loop, this.#names[edge.to]!];
        }
      }
    }
    return null;
  }
}
