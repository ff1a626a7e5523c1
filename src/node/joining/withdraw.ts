/** Takes an admission back: a node whose file differs from the cluster leaves no member behind. */
import { type Clock, sleep } from "../../base/clock.ts";
import { removeDatabase } from "../../replica/copies/database-files.ts";
import { encodeControl } from "../../replication/messages/control-messages.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { MessageRouter } from "../../replication/messages/message-router.ts";
import type { Transport } from "../../shard/seams.ts";

const ASK_MS = 200;
/** Without an answer of the leader in this time, the member stays until it is removed by command. */
const WITHDRAW_MS = 10_000;

export interface WithdrawComponents {
  readonly transport: Transport;
  readonly router: MessageRouter;
  readonly clock: Clock;
}

/** Removes the received replica, too: the next start joins again. True: the leader confirmed it. */
export async function withdraw(
  admission: string,
  paths: DataPaths,
  { transport, router, clock }: WithdrawComponents,
): Promise<boolean> {
  let isDone = false;
  router.enter({
    clusterId: "",
    onConnect: () => {},
    onDisconnect: () => {},
    onRaft: () => {},
    onControl: (_by, control) => {
      if (control.kind === "changed" && control.id === admission && control.state === "done") isDone = true;
    },
    async *onTransfer() {
      yield* [];
      throw new Error("this node has no replica");
    },
  });
  const end = clock.now() + WITHDRAW_MS;
  while (!isDone && clock.now() < end) {
    for (const peer of transport.connected())
      transport.send(peer, encodeControl({ kind: "leave", nonce: admission }), "urgent");
    await sleep(clock, ASK_MS);
  }
  removeDatabase(paths.replica);
  removeDatabase(paths.log);
  return isDone;
}
