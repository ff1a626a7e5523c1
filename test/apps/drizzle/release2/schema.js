/** The second release's tables: columns added, renamed and made stricter (a rebuilt table), a table more, indexes changed. */
import { sql } from "drizzle-orm";
import {
  blob,
  check,
  index,
  integer,
  primaryKey,
  real,
  sqliteTable,
  text,
  uniqueIndex,
} from "drizzle-orm/sqlite-core";

export const users = sqliteTable(
  "users",
  {
    id: integer("id").primaryKey({ autoIncrement: true }),
    name: text("name").notNull(),
    email: text("email").notNull(),
    settings: text("settings", { mode: "json" }).notNull().default({}),
    createdAt: integer("created_at", { mode: "timestamp_ms" })
      .notNull()
      .default(sql`(unixepoch() * 1000)`),
    active: integer("active", { mode: "boolean" }).notNull().default(true),
  },
  (t) => [uniqueIndex("users_email_unique").on(sql`lower(${t.email})`)],
);

export const projects = sqliteTable("projects", {
  id: text("id")
    .primaryKey()
    .$defaultFn(() => crypto.randomUUID()),
  title: text("title").notNull().unique(),
  ownerId: integer("owner_id")
    .notNull()
    .references(() => users.id, { onDelete: "cascade" }),
});

export const tasks = sqliteTable(
  "tasks",
  {
    id: integer("id").primaryKey({ autoIncrement: true }),
    projectId: text("project_id")
      .notNull()
      .references(() => projects.id, { onDelete: "cascade", onUpdate: "cascade" }),
    title: text("title").notNull(),
    state: text("state", { enum: ["open", "done", "dropped"] })
      .notNull()
      .default("open"),
    estimate: real("estimate").notNull().default(0),
    attachment: blob("attachment", { mode: "buffer" }),
    code: text("code"),
    shout: text("shout").generatedAlwaysAs(sql`upper("title")`, { mode: "stored" }),
  },
  (t) => [
    index("tasks_open")
      .on(t.projectId)
      .where(sql`"state" = 'open'`),
    check("estimate_in_range", sql`${t.estimate} >= 0 AND ${t.estimate} < 1000`),
  ],
);

export const members = sqliteTable(
  "members",
  {
    projectId: text("project_id")
      .notNull()
      .references(() => projects.id, { onDelete: "cascade" }),
    userId: integer("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    role: text("role").notNull().default("reader"),
  },
  (t) => [primaryKey({ columns: [t.projectId, t.userId] })],
);

export const comments = sqliteTable(
  "comments",
  {
    id: integer("id").primaryKey({ autoIncrement: true }),
    taskId: integer("task_id")
      .notNull()
      .references(() => tasks.id, { onDelete: "cascade" }),
    body: text("body").notNull(),
  },
  (t) => [index("comments_task").on(t.taskId)],
);
