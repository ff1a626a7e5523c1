/** The roles of a node in its cluster. */

/** A learner has no vote; a reader is a learner whose file refuses the writes of its applications. */
export const ROLES = ["voter", "learner", "reader"] as const;
export type Role = (typeof ROLES)[number];

export const isRole = (text: string): text is Role => (ROLES as readonly string[]).includes(text);

/** `role` permits no more than `limit`. */
export const isWithin = (role: Role, limit: Role): boolean => ROLES.indexOf(role) >= ROLES.indexOf(limit);

/** A role in messages and configurations: older builds know no readers, and take them for learners. */
export interface ToldRole {
  readonly role: "voter" | "learner";
  readonly reader?: true;
}

export const tellRole = (role: Role): ToldRole =>
  role === "reader" ? { role: "learner", reader: true } : { role };

export const toldRole = (told: {
  readonly role: "voter" | "learner";
  readonly reader?: boolean | undefined;
}): Role => (told.role === "learner" && told.reader === true ? "reader" : told.role);
