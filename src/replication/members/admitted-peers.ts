/** The list of `--admit`: the peers that may join, with the role that each may have at most. */
import { readFileSync, statSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import { asPeerId, type PeerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { isRole, type Role, ROLES } from "./role.ts";

/** A list has a line for each node; a larger file is not one. */
const MAX_FILE_BYTES = 64 * 1024;
/** Pause between two looks at the file. */
const LOOK_MS = 500;

/** The ids of Ed25519 keys, which all nodes have. */
const PEER_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;
const FORM = `PEER-ID ROLE, with ${ROLES.slice(0, -1).join(", ")} or ${ROLES.at(-1)!}`;
const HINT = "marmot key id prints the peer id of a node; a line without a role admits a voter";

export type AdmittedRoles = ReadonlyMap<PeerId, Role>;

/** `source` names the origin of the text in errors. Throws `UserError` for a line of another form. */
export function parseAdmitted(text: string, source: string): AdmittedRoles {
  const roles = new Map<PeerId, Role>();
  text.split(/\r?\n/).forEach((line, i) => {
    const [id, role = "voter", ...more] = line
      .replace(/#.*/, "")
      .split(/\s+/)
      .filter((word) => word !== "");
    if (id === undefined) return;
    if (!PEER_ID.test(id) || !isRole(role) || more.length > 0)
      throw new UserError(`${source}: line ${i + 1} should read ${FORM}, but does not`, HINT);
    if (roles.has(asPeerId(id)))
      throw new UserError(`${source}: line ${i + 1} names ${id} again`, "remove one of its lines");
    roles.set(asPeerId(id), role);
  });
  return roles;
}

/** Throws `UserError` for a file that cannot be read or has another form. */
export function readAdmitted(path: string): AdmittedRoles {
  let text: string;
  try {
    if (statSync(path).size > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`);
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(
      `the list of admitted nodes ${path} cannot be read: ${errorMessage(error)}`,
      `write a line ${FORM} for each node into it`,
      { cause: error },
    );
  }
  return parseAdmitted(text, path);
}

export interface AdmittedPeersComponents {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The list as its file has it now. */
export class AdmittedPeers {
  readonly #path: string;
  readonly #components: AdmittedPeersComponents;
  #roles: AdmittedRoles;
  #lookedAt: number;
  /** Changes with the file. */
  #version: string;

  /** Throws `UserError` for a file without a valid list. */
  constructor(path: string, components: AdmittedPeersComponents) {
    this.#path = path;
    this.#components = components;
    this.#version = this.#readVersion();
    this.#roles = readAdmitted(path);
    this.#lookedAt = components.clock.now();
  }

  /** The role that the peer may have at most; null: it is not listed. */
  roleOf(peer: PeerId): Role | null {
    this.#look();
    return this.#roles.get(peer) ?? null;
  }

  #readVersion(): string {
    const stat = statSync(this.#path, { throwIfNoEntry: false });
    return stat === undefined ? "" : `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
  }

  /** Reads the file again if it changed. The list before stays in force while the file has none. */
  #look(): void {
    const { clock, logger } = this.#components;
    if (clock.now() - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = clock.now();
    const version = this.#readVersion();
    if (version === this.#version) return;
    this.#version = version;
    try {
      this.#roles = readAdmitted(this.#path);
      logger.info("read the list of admitted nodes again", { nodes: this.#roles.size });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      logger.error(`${error.message}; the list before stays in force`, { hint: error.hint });
    }
  }
}
