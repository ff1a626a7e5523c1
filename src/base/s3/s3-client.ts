/** The S3 client of the environment: S3_ENDPOINT, S3_REGION and credentials, or the same with AWS_, as other tools name them. */

import { readFileSync } from "node:fs";

const NAMES = {
  endpoint: ["S3_ENDPOINT", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
  region: ["S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"],
  accessKeyId: ["S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"],
  secretAccessKey: ["S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"],
  sessionToken: ["S3_SESSION_TOKEN", "AWS_SESSION_TOKEN"],
} as const;

/** Of the file that `AWS_SHARED_CREDENTIALS_FILE` names: `[default]`, or the section that `AWS_PROFILE` names. */
const KEYS = {
  accessKeyId: "aws_access_key_id",
  secretAccessKey: "aws_secret_access_key",
  sessionToken: "aws_session_token",
} as const;

function fromFile(path: string, profile: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return {};
  }
  const values = new Map<string, string>();
  let isWanted = false;
  for (const line of text.split("\n").map((one) => one.trim())) {
    const section = /^\[(.*)\]$/.exec(line)?.[1]?.trim();
    if (section !== undefined) isWanted = section === profile;
    const [, name, value] = /^([\w]+)\s*=\s*(.*)$/.exec(line) ?? [];
    if (isWanted && name !== undefined && value !== undefined) values.set(name.toLowerCase(), value);
  }
  return Object.fromEntries(
    Object.entries(KEYS).flatMap(([option, name]) => {
      const value = values.get(name);
      return value === undefined ? [] : [[option, value] as const];
    }),
  );
}

let access: Readonly<Record<string, string>> = {};

/** Called once by the process, with its environment. */
export function useS3(environment: Readonly<Record<string, string | undefined>>): void {
  const given = Object.fromEntries(
    Object.entries(NAMES).flatMap(([option, names]) => {
      const value = names.map((name) => environment[name]).find((v) => v !== undefined && v !== "");
      return value === undefined ? [] : [[option, value] as const];
    }),
  );
  const { AWS_SHARED_CREDENTIALS_FILE: file, AWS_PROFILE: profile = "default" } = environment;
  access = given.accessKeyId !== undefined || !file ? given : { ...given, ...fromFile(file, profile) };
}

export const s3Client = (bucket: string): Bun.S3Client => new Bun.S3Client({ bucket, ...access });
