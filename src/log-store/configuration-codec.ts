/** A group's configuration as JSON bytes: rarely read, and readable for people. */
import { fromUtf8, utf8 } from "../base/bytes.ts";
import type { GroupConfiguration } from "../shard/seams.ts";

export const encodeConfiguration = (configuration: GroupConfiguration): Uint8Array =>
  utf8(JSON.stringify(configuration));

export const decodeConfiguration = (bytes: Uint8Array): GroupConfiguration =>
  JSON.parse(fromUtf8(bytes)) as GroupConfiguration;
