UPDATE `users` SET `settings` = json_set(`settings`, '$.release', 2);--> statement-breakpoint
PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_tasks` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`project_id` text NOT NULL,
	`title` text NOT NULL,
	`state` text DEFAULT 'open' NOT NULL,
	`estimate` real DEFAULT 0 NOT NULL,
	`attachment` blob,
	`code` text,
	`shout` text GENERATED ALWAYS AS (upper("title")) STORED,
	FOREIGN KEY (`project_id`) REFERENCES `projects`(`id`) ON UPDATE cascade ON DELETE cascade,
	CONSTRAINT "estimate_in_range" CHECK("__new_tasks"."estimate" >= 0 AND "__new_tasks"."estimate" < 1000)
);
--> statement-breakpoint
INSERT INTO `__new_tasks`("id", "project_id", "title", "state", "estimate", "attachment", "code") SELECT "id", "project_id", "title", "state", coalesce("estimate", 0), "attachment", "code" FROM `tasks`;--> statement-breakpoint
DROP TABLE `tasks`;--> statement-breakpoint
ALTER TABLE `__new_tasks` RENAME TO `tasks`;--> statement-breakpoint
PRAGMA foreign_keys=ON;--> statement-breakpoint
CREATE INDEX `tasks_open` ON `tasks` (`project_id`) WHERE "state" = 'open';