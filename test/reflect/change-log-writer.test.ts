/** The rows that stay in a change log when the changes are acknowledged. */
import { expect, test } from "bun:test";
import { Lab } from "../node/lab.ts";

test("the sweep of acknowledged log rows keeps the newest: ids of a log rise and are never used again", async () => {
  const lab = await Lab.create("CREATE TABLE t(k INTEGER PRIMARY KEY, v)", 2);
  try {
    const [{ app }] = lab.nodes as [(typeof lab.nodes)[number]];
    const ids = (): unknown[] =>
      app.query('SELECT id FROM "__marmot__t_change_log" WHERE id > 0').values().flat();
    app.exec("INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c')");
    lab.settle();
    expect(ids()).toEqual([3n]);
    app.exec("UPDATE t SET v = 'd' WHERE k = 1");
    lab.settle();
    expect(ids()).toEqual([4n]);
  } finally {
    lab.close();
  }
});
