/** Name and role of this node: a member has them from the cluster, and options do not change them. */
import { isDiskFull, UserError } from "../../base/errors.ts";
import { readMembership } from "../../log-store/log-file.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";

export interface NameAndRole {
  readonly name: string;
  readonly role: "voter" | "learner";
}

export interface GivenNameAndRole {
  readonly name: string | null;
  readonly hostName?: string;
  readonly role: "voter" | "learner" | null;
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
  // A learner by choice that took the place of lost voters has a vote, and keeps its role.
  if (given.role === "learner" && isVoter && member.role !== "learner")
    throw new UserError(
      `--role learner was given, but the member ${name} is a voter`,
      `start it without --role, then run marmot members demote ${name}`,
    );
  if (given.role === "voter" && member.role === "learner")
    throw new UserError(
      `--role voter was given, but the member ${name} is a learner`,
      `start it without --role, then run marmot members promote ${name}`,
    );
  const isLearner = member.role === "learner" || given.role === "learner";
  return { name, role: isLearner ? "learner" : "voter" };
}
