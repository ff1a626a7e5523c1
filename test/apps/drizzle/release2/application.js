/** What the second release does with its tables. */
import { asc, count, eq, sql } from "drizzle-orm";
import { comments, members, projects, tasks, users } from "./schema.js";

export function fill(db, who, rounds) {
  let left = 0;
  const owner = db
    .insert(users)
    .values({ name: who, email: `${who}@example.com`, active: who.length % 2 === 0 })
    .returning()
    .get();
  const project = db
    .insert(projects)
    .values({ title: `Project of ${who}`, ownerId: owner.id })
    .returning()
    .get();
  db.insert(members).values({ projectId: project.id, userId: owner.id, role: "owner" }).run();
  for (let i = 0; i < rounds; i++) {
    const made = db.transaction(
      (tx) => {
        const task = tx
          .insert(tasks)
          .values({ projectId: project.id, title: `${who} ${i}`, estimate: i, code: who })
          .returning()
          .get();
        tx.insert(comments)
          .values([0, 1].map((n) => ({ taskId: task.id, body: `${who} ${i} ${n}` })))
          .run();
        return task;
      },
      { behavior: "immediate" },
    );
    if (i % 3 === 1)
      db.update(tasks)
        .set({ state: "dropped", title: `${who} ${i} again` })
        .where(eq(tasks.id, made.id))
        .run();
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
  const said = db
    .select()
    .from(comments)
    .leftJoin(tasks, eq(comments.taskId, tasks.id))
    .orderBy(asc(comments.body))
    .all();
  return {
    kept: rows.length,
    strayed:
      rows.filter(
        (r) =>
          r.projects.title !== `Project of ${r.tasks.code}` || r.tasks.shout !== r.tasks.title.toUpperCase(),
      ).length +
      said.filter((r) => !r.comments.body.startsWith(r.tasks?.title.replace(" again", "") ?? "-")).length,
    tasks: rows.map(({ tasks: t }) => [t.title, t.state, t.estimate, t.attachment?.length]),
    comments: said.map((r) => r.comments.body),
    members: db
      .select({ role: members.role, n: count() })
      .from(members)
      .groupBy(members.role)
      .orderBy(asc(members.role))
      .all(),
    settings: db
      .select({ s: users.settings, a: users.active })
      .from(users)
      .orderBy(sql`lower(${users.email})`)
      .all(),
  };
}
