/** The token of the admin API, from its option or from a file. */
import { readFileSync, statSync } from "node:fs";
import { errorMessage, UserError } from "../../base/errors.ts";

/** A token file has one line; a larger file is not one. */
const MAX_FILE_BYTES = 4096;

export const isToken = (given: string): boolean => /^[\x21-\x7e]{8,256}$/.test(given);
export const TOKEN_FORM = "8 to 256 characters without spaces";

/** Throws `UserError` for a file that cannot be read or holds no token. */
export function readTokenFile(path: string): string {
  let text: string;
  try {
    if (statSync(path).size > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`);
    text = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new UserError(
      `the admin token ${path} cannot be read: ${errorMessage(error)}`,
      `make one with: openssl rand -hex 32 > ${path}`,
      { cause: error },
    );
  }
  if (isToken(text)) return text;
  throw new UserError(
    `${path} should hold ${TOKEN_FORM}, but does not`,
    `make one with: openssl rand -hex 32 > ${path}`,
  );
}
