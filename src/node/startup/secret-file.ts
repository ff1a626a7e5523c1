/** A secret in a file: its first line. */
import { readFileSync } from "node:fs";
import { errorMessage, UserError } from "../../base/errors.ts";

const SHORTEST = 16;

export function readSecret(path: string): string {
  let secret: string;
  try {
    secret = readFileSync(path, "utf8").split("\n")[0]!.trim();
  } catch (error) {
    throw new UserError(
      `the secret file ${path} cannot be read: ${errorMessage(error)}`,
      "check --feed-secret-file; openssl rand -hex 32 prints a secret",
      { cause: error },
    );
  }
  if (secret.length >= SHORTEST) return secret;
  throw new UserError(
    `the secret in ${path} has ${secret.length} characters; at least ${SHORTEST} are needed`,
    "openssl rand -hex 32 prints one",
  );
}
