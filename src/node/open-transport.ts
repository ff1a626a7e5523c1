/** Opens the network of a node, which does not listen yet. */
import type { PeerId } from "../base/ids.ts";
import { tellRole } from "../replication/members/role.ts";
import { VERSION } from "../base/version.ts";
import { AdmittedPeers } from "../replication/members/admitted-peers.ts";
import { notAdmitted } from "../replication/members/member-changes.ts";
import { MessageRouter } from "../replication/messages/message-router.ts";
import type { loadIdentity } from "../transport/identity.ts";
import { storeAddresses, storedAddresses } from "./data-dir.ts";
import type { NodeCore } from "./node-core.ts";

export interface Secrets {
  readonly privateKey: Awaited<ReturnType<typeof loadIdentity>>;
  readonly clusterKeys: readonly Uint8Array[];
}

export function openTransport(
  core: NodeCore,
  { privateKey, clusterKeys }: Secrets,
  onRefused: (peer: PeerId, reason: string) => void,
): void {
  const { listen, announce, peers, mdns, admit } = core.options;
  const { name, role } = core.member;
  const { clock, random, logger } = core.components;
  const nonce = core.host.nonce();
  if (typeof admit === "string")
    core.admitted = new AdmittedPeers(admit, { clock, logger: logger.child("members") });
  const { admitted } = core;
  core.router = new MessageRouter(
    { name, version: VERSION, role: tellRole(role).role, nonce },
    {
      now: () => clock.now(),
      mayJoin: (peer) => (admitted === null || admitted.roleOf(peer) !== null ? null : notAdmitted(peer)),
    },
  );
  core.transport = core.host.transport(
    { clock, random: random.fork(), logger: logger.child("transport") },
    {
      ...{ privateKey, clusterKeys, listen, announce, mdns, peers },
      remembered: storedAddresses(core.paths),
      onAddresses: (addresses) => storeAddresses(core.paths, addresses, logger),
      onRefused,
    },
  );
}
