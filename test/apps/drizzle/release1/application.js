/** What the first release does with its tables. */
import { asc, count, eq, sql } from "drizzle-orm";
import { members, projects, tasks, users } from "./schema.js";

export function fill(db, who, rounds) {
  let left = 0;
  const owner = db
    .insert(users)
    .values({ name: who, email: `${who}@Example.org`, settings: { theme: "dark", sizes: [1, 2.5] } })
    .returning()
    .get();
  const project = db
    .insert(projects)
    .values({ title: `Project of ${who}`, ownerId: owner.id })
    .returning()
    .get();
  for (let i = 0; i < rounds; i++) {
    const made = db.transaction(
      (tx) => {
        const user = tx
          .insert(users)
          .values({ name: who, email: `${i}@${who}` })
          .returning()
          .get();
        tx.insert(members).values({ projectId: project.id, userId: user.id }).run();
        const task = {
          projectId: project.id,
          title: `${who} ${i}`,
          estimate: i % 2 === 0 ? null : i / 2,
          attachment: Buffer.alloc(i * 10, i),
          oldCode: who,
        };
        return tx.insert(tasks).values(task).returning().get();
      },
      { behavior: "immediate" },
    );
    if (i % 3 === 1) db.update(tasks).set({ state: "done" }).where(eq(tasks.id, made.id)).run();
    if (i % 4 === 3) db.delete(tasks).where(eq(tasks.id, made.id)).run();
    else left++;
  }
  return left;
}

export function report(db) {
  const rows = db
    .select()
    .from(tasks)
    .innerJoin(projects, eq(tasks.projectId, projects.id))
    .orderBy(asc(tasks.title))
    .all();
  return {
    kept: rows.length,
    strayed: rows.filter((r) => r.projects.title !== `Project of ${r.tasks.oldCode}`).length,
    tasks: rows.map(({ tasks: t }) => [t.title, t.state, t.estimate, t.attachment?.length]),
    members: db
      .select({ role: members.role, name: users.name, n: count() })
      .from(members)
      .innerJoin(users, eq(members.userId, users.id))
      .groupBy(users.name)
      .orderBy(asc(users.name))
      .all(),
    settings: db
      .select({ s: users.settings })
      .from(users)
      .orderBy(sql`lower(${users.email})`)
      .all(),
  };
}
