/** Name and role of this node: a member has them from the cluster, and options do not change them. */
import { isDiskFull, UserError } from "../../base/errors.ts";
import { type Role, toldRole } from "../../replication/members/role.ts";
import { readMembership } from "../../log-store/log-file.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";

export interface NameAndRole {
  readonly name: string;
  readonly role: Role;
}

export interface GivenNameAndRole {
  readonly name: string | null;
  readonly hostName?: string;
  readonly role: Role | null;
}

/** Of a node that is no member yet. */
export const newMember = ({ name, hostName, role }: GivenNameAndRole): NameAndRole => ({
  name: name ?? hostName ?? "node",
  role: role ?? "voter",
});

/** Throws `UserError` for options that contradict the cluster. */
export function ownMember(given: GivenNameAndRole, paths: DataPaths): NameAndRole {
  try {
    return checkedMember(given, readMembership(paths.log));
  } catch (error) {
    if (isDiskFull(error)) return newMember(given); // the node waits for room, and does not take part
    throw error;
  }
}

function checkedMember(
  given: GivenNameAndRole,
  { self, at }: ReturnType<typeof readMembership>,
): NameAndRole {
  const member = at.members.find((m) => m.id === self);
  if (member === undefined) return newMember(given); // it was removed, and its peers will say so
  const { name } = member;
  if (given.name !== null && given.name !== name)
    throw new UserError(
      `--name ${given.name} was given, but this member has the name ${name}`,
      `start it without --name, then run marmot members rename ${name} ${given.name}`,
    );
  const isVoter = at.configuration.voters.includes(self);
  const role = isVoter ? "voter" : toldRole({ role: "voter", ...member });
  // A learner that has not asked for its vote yet may still stay one.
  const isDue = given.role === "learner" && role === "voter" && !isVoter;
  // A learner by choice that took the place of a lost voter keeps its role.
  const isStandIn = isVoter && given.role === member.role;
  if (given.role !== null && given.role !== role && !isDue && !isStandIn)
    throw new UserError(
      `--role ${given.role} was given, but the member ${name} is a ${role}`,
      `start it without --role, then run marmot members ${CHANGES[given.role](name)}`,
    );
  return { name, role: given.role ?? role };
}

const CHANGES: Readonly<Record<Role, (name: string) => string>> = {
  voter: (name) => `promote ${name}`,
  learner: (name) => `demote ${name}`,
  reader: (name) => `demote ${name} --reader`,
};
