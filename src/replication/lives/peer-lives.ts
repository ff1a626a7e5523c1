/** Lives over open connections: tells this node's, and refuses peers whose lives turn out to be wrong. */
import type { Logger } from "../../base/logger.ts";
import type { PeerHello, PeerId, Transport } from "../../shard/seams.ts";
import { encodeControl, type Hello, type Life, type NodeNews } from "../messages/control-messages.ts";
import { storedFormats } from "../formats/told-formats.ts";
import type { MessageRouter } from "../messages/message-router.ts";
import { type Epoch, plainEpoch } from "../../shard/epochs.ts";
import type { EpochGuard } from "../epochs/epoch-guard.ts";
import { LifeGuard, type LifeGuardComponents } from "./life-guard.ts";

const TWIN_HINT = { hint: "stop the copy; only one machine may run a data directory" };

export interface PeerLivesComponents extends Omit<LifeGuardComponents, "onTwin" | "nonce"> {
  readonly transport: Transport;
  readonly router: MessageRouter;
  readonly logger: Logger;
  readonly nameOf: (peer: PeerId) => string;
  readonly epochs: EpochGuard;
}

export class PeerLives {
  readonly #components: PeerLivesComponents;
  readonly #guard: LifeGuard;
  /** Connected peers of an earlier epoch. */
  readonly #older = new Set<PeerId>();

  constructor(components: PeerLivesComponents) {
    const { router, transport } = components;
    this.#components = components;
    this.#guard = new LifeGuard({
      ...components,
      nonce: router.nonce,
      onTwin: (peer) => void transport.send(peer, encodeControl({ kind: "twin" }), "urgent"),
    });
  }

  own(): Life | null {
    return this.#guard.life();
  }

  /** For peers: the lives that this node has met. */
  known(): NonNullable<NodeNews["lives"]> {
    return this.#guard.known();
  }

  admit(peer: PeerHello, hello: Hello, linkedNonce: string | null): string | null {
    const { epochs } = this.#components;
    const other = epochs.admit(hello);
    // A removed member may have begun an epoch: it is told that it was removed.
    if (other !== null)
      return (epochs.isUnproven(hello) ? this.#guard.admit(peer, hello, linkedNonce) : null) ?? other;
    this.#older.delete(peer.peerId);
    const refusal = this.#guard.admit(peer, hello, linkedNonce);
    if (refusal === null) this.#noteFormats(peer.peerId, hello);
    return refusal;
  }

  /** For the time in which the member is not connected. */
  #noteFormats(peer: PeerId, hello: Hello | undefined): void {
    const { peers, runtime } = this.#components;
    if (hello === undefined || runtime.groups[0]!.memberOf(peer) === undefined) return;
    peers.rememberFormats(peer, storedFormats(hello.speaks));
  }

  isRefused(peer: PeerId): boolean {
    return this.#older.has(peer) || this.#guard.isRefused(peer);
  }

  /** Tells connected peers the life that is not in this node's hello. */
  tell(): void {
    const life = this.own();
    if (life === null) return;
    const { transport, epochs } = this.#components;
    const message = encodeControl({ kind: "life", life, epochs: epochs.own.map(plainEpoch) });
    for (const peer of transport.connected()) transport.send(peer, message, "urgent");
  }

  /** The peer tells a life that is not in its hello. */
  onLife(peer: PeerId, { life, epochs: told }: Pick<Hello, "epochs"> & { readonly life: Life }): void {
    const { router, epochs } = this.#components;
    router.introduce(peer, { life, epochs: told });
    const hello = router.hellos.get(peer);
    // Its epoch may have begun after its hello.
    if (hello !== undefined && epochs.isNewer(hello)) return void epochs.admit(hello);
    this.#noteFormats(peer, hello);
    if (hello !== undefined && epochs.isOlder(hello)) return this.checkAgain(peer);
    this.#older.delete(peer);
    this.#check(peer, life);
  }

  onNews(peer: PeerId, { applied, lives = [] }: Pick<NodeNews, "applied" | "lives">): void {
    this.#guard.hears(peer, applied);
    for (const other of this.#guard.learn(peer, lives)) this.checkAgain(other);
  }

  /** Another process with this node's identity was refused. */
  onTwin(): void {
    this.#components.logger.event(
      "halt",
      "another process has the identity of this node",
      TWIN_HINT,
      "error",
    );
  }

  /** A peer tells the newest epochs that it knows. */
  onEpochs(peer: PeerId, told: readonly Epoch[]): void {
    const { epochs, runtime } = this.#components;
    const hello = { clusterId: epochs.clusterId, epochs: told };
    epochs.admit(hello);
    if (epochs.isOlder(hello) && runtime.groups[0]!.memberOf(peer) === undefined) this.#tellEpochs(peer);
  }

  /** The peer is of an earlier epoch, as far as this node knows. */
  #tellEpochs(peer: PeerId): void {
    const { transport, epochs } = this.#components;
    this.#older.add(peer);
    transport.send(peer, encodeControl({ kind: "epochs", epochs: epochs.own.map(plainEpoch) }), "urgent");
  }

  /** Checks the life that a connected peer told last: this node may know more by now. */
  checkAgain(peer: PeerId): void {
    const { router, transport, epochs } = this.#components;
    const hello = router.hellos.get(peer);
    if (hello !== undefined && epochs.isOlder(hello)) return this.#tellEpochs(peer);
    const { life } = hello ?? {};
    if (life !== undefined && transport.connected().includes(peer)) this.#check(peer, life);
  }

  #check(peer: PeerId, life: Life): void {
    const { logger, transport, nameOf, epochs } = this.#components;
    // It left with an epoch of this node, and may have begun one itself since its hello.
    if (this.#guard.isRemoved(life) && epochs.isLeftBy(peer, life.member)) return this.#tellEpochs(peer);
    const wasRefused = this.#guard.isRefused(peer);
    const reason = this.#guard.changed(peer, life);
    if (reason === null) return;
    if (!wasRefused)
      logger.event(
        "refused",
        `${nameOf(peer)} was refused: ${reason}`,
        { peer: nameOf(peer), reason },
        "warn",
      );
    transport.send(peer, encodeControl({ kind: "refused", reason }), "urgent");
  }
}
