/** Where a backup is or goes: a file, a folder, an object in S3, or a prefix there. */
import { statSync } from "node:fs";
import { basename } from "node:path";
import { UserError } from "../../../base/errors.ts";
import type { BackupFolder } from "./backup-folder.ts";
import { LocalFolder } from "./local-folder.ts";
import { S3Folder } from "./s3-folder.ts";

export interface BackupPlace {
  readonly folder: BackupFolder;
  /** null: the place is a folder, and the name is to be chosen. */
  readonly name: string | null;
}

/** `scratch`: a folder for files on their way to S3. */
export function backupPlace(given: string, scratch: string): BackupPlace {
  if (given.startsWith("s3://")) return s3Place(given, scratch);
  const scheme = /^([a-z][a-z0-9+.-]+):\//i.exec(given)?.[1];
  if (scheme !== undefined)
    throw new UserError(
      `${given} should be a file, a folder, or s3://BUCKET/KEY; ${scheme}: is none of them`,
      "for example s3://backups/app/, or /backups/ for a folder",
    );
  if (given.endsWith("/") || isFolder(given))
    return { folder: new LocalFolder(given.replace(/(?<=.)\/+$/, "")), name: null };
  const at = given.lastIndexOf("/");
  return {
    folder: new LocalFolder(at === -1 ? "." : given.slice(0, at) || "/"),
    name: basename(given),
  };
}

export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Credentials and endpoint are in the environment: S3_ENDPOINT, S3_ACCESS_KEY_ID and so on, or AWS_ in place of S3_. */
function s3Place(given: string, scratch: string): BackupPlace {
  const match = /^s3:\/\/([^/]+)(?:\/(.*))?$/.exec(given);
  if (match === null)
    throw new UserError(
      `${given} should be s3://BUCKET/KEY or s3://BUCKET/PREFIX/`,
      "for example s3://backups/app/",
    );
  const [, bucket, path = ""] = match as unknown as [string, string, string?];
  const at = path.lastIndexOf("/");
  const prefix = path.slice(0, at + 1);
  const name = path.slice(at + 1);
  return { folder: new S3Folder(bucket, prefix, scratch), name: name === "" ? null : name };
}
