/**
 * What nodes say to each other beside Raft: joining, promotion, where each stands, checksums. JSON, read strictly; an
 * unknown kind is ignored, so that versions can differ while a cluster is updated.
 */
import { fromUtf8, utf8 } from "../base/bytes.ts";
import { MessageKind, withKind } from "../shard/frames.ts";

/** In the hello of each stream. */
export interface Hello {
  /** "" while a node joins. */
  readonly clusterId: string;
  readonly name: string;
  readonly version: string;
  readonly role: "voter" | "learner";
  /** Format of wire, log entries and snapshots, each. */
  readonly formats: readonly [number, number, number];
}

/** Where a node stands. */
export interface NodeNews {
  readonly name: string;
  readonly version: string;
  readonly ready: boolean;
  readonly applied: readonly number[];
  readonly reflected: readonly number[];
}

export type Control =
  | { readonly kind: "join"; readonly name: string; readonly role: "voter" | "learner" }
  | { readonly kind: "joined"; readonly member: number; readonly clusterId: string; readonly shards: number }
  | { readonly kind: "promote" }
  | { readonly kind: "tell" }
  | ({ readonly kind: "news" } & NodeNews)
  | { readonly kind: "sums?"; readonly note: string }
  | {
      readonly kind: "sums";
      readonly note: string;
      /** Per shard: position and [table, sum]; null: not reached yet. */
      readonly shards: readonly ({
        readonly index: number;
        readonly sums: readonly [number, string][];
      } | null)[];
    };

export const encodeControl = (control: Control): Uint8Array =>
  withKind(MessageKind.control, utf8(JSON.stringify(control)));

/** `body`: without the kind byte. Throws for what is no control message; null for one of an unknown kind. */
export function decodeControl(body: Uint8Array): Control | null {
  const value = JSON.parse(fromUtf8(body)) as Record<string, unknown>;
  const isText = (x: unknown): boolean => typeof x === "string" && x.length < 4096;
  const isVector = (x: unknown): boolean =>
    Array.isArray(x) && x.length <= 64 && x.every((n) => Number.isSafeInteger(n));
  const good = ((): boolean => {
    switch (value.kind) {
      case "join":
        return isText(value.name) && (value.role === "voter" || value.role === "learner");
      case "joined":
        return (
          Number.isSafeInteger(value.member) && isText(value.clusterId) && Number.isSafeInteger(value.shards)
        );
      case "promote":
      case "tell":
        return true;
      case "news":
        return (
          isText(value.name) && isText(value.version) && isVector(value.applied) && isVector(value.reflected)
        );
      case "sums?":
        return isText(value.note);
      case "sums":
        return isText(value.note) && Array.isArray(value.shards) && value.shards.length <= 64;
      default:
        return true;
    }
  })();
  if (!good) throw new Error(`a malformed ${String(value.kind)} message`);
  const known = ["join", "joined", "promote", "tell", "news", "sums?", "sums"];
  return known.includes(String(value.kind)) ? (value as unknown as Control) : null;
}

export const encodeHello = (hello: Hello): Uint8Array => utf8(JSON.stringify(hello));

/** Null: not a hello. */
export function decodeHello(bytes: Uint8Array): Hello | null {
  try {
    const value = JSON.parse(fromUtf8(bytes)) as Partial<Hello>;
    if (
      typeof value.clusterId !== "string" ||
      typeof value.name !== "string" ||
      typeof value.version !== "string"
    )
      return null;
    if (!Array.isArray(value.formats) || value.formats.length !== 3) return null;
    return value as Hello;
  } catch {
    return null;
  }
}
