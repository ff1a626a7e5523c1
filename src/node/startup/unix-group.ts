/** Lets the processes of a Unix group use a node: folder, control socket, and a file that the node made. */
import { chmodSync, chownSync, existsSync, readFileSync, statSync } from "node:fs";
import { errorMessage, UserError } from "../../base/errors.ts";

const FOLDER_MODE = 0o750;
const SOCKET_MODE = 0o660;
const FILE_MODE = 0o660;

/** A group's id, by its name or number; null: there is no such group. */
export function groupId(name: string): number | null {
  if (/^\d{1,9}$/.test(name)) return Number(name);
  if (!existsSync("/etc/group")) return null;
  for (const line of readFileSync("/etc/group", "utf8").split("\n")) {
    const [group, , id] = line.split(":");
    if (group === name && id !== undefined) return Number(id);
  }
  return null;
}

function share(path: string, group: number, mode: number): void {
  try {
    chownSync(path, statSync(path).uid, group);
    chmodSync(path, mode);
  } catch (error) {
    throw new UserError(
      `${path} cannot be given to group ${group}: ${errorMessage(error)}`,
      `run the node as a member of that group (usermod -aG GROUP USER), or leave out --group`,
      { cause: error },
    );
  }
}

export const shareFolder = (path: string, group: number): void => share(path, group, FOLDER_MODE);
export const shareSocket = (path: string, group: number): void => share(path, group, SOCKET_MODE);
export const shareFile = (path: string, group: number): void => share(path, group, FILE_MODE);
