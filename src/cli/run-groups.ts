/** The options of `marmot run` in groups, for its help, the manual page and the reference. */
import type { OptionGroup } from "./verb.ts";

export const RUN_GROUPS: readonly OptionGroup[] = [
  { title: "File", options: ["db", "create", "data-dir", "group", "unsafe-filesystem"] },
  {
    title: "Network",
    options: ["peers", "bootstrap-expect", "listen", "announce", "discover", "cluster-key", "admit"],
  },
  {
    title: "Node",
    options: [
      "name",
      "role",
      "replace-after",
      "leader-follows-writer",
      "functions",
      "load-extension",
      "scan",
    ],
  },
  { title: "Admin", options: ["admin", "admin-token", "admin-token-file", "admin-public"] },
  {
    title: "Copies",
    options: [
      ...["backup-to", "backup-every", "backup-keep", "archive", "archive-interval", "archive-keep"],
      ...["archive-key", "history", "feed-to", "feed-secret-file"],
    ],
  },
  { title: "Log", options: ["log-level", "log-format", "config"] },
  {
    title: "Fixed",
    note: "Fixed when the cluster is formed, and taken over by nodes that join:",
    options: ["shards", "transactions", "merge", "foreign-keys", "id-block", "tables", "exclude"],
  },
];
