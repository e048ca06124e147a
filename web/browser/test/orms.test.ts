// ORMs with optimistic locking remember the version that they wrote. taskfeed reset it after an update without a visible
// change, and the ORM's next save failed.
import { EntitySchema, MikroORM, OptimisticLockError } from "@mikro-orm/postgresql";
import { DataTypes, Model, Sequelize } from "sequelize";
import { DataSource, EntitySchema as TypeORMSchema } from "typeorm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Server } from "../support/server.js";

let server: Server;

beforeAll(async () => {
  server = await Server.start();
  await server.sql("ALTER TABLE taskfeed.tasks ADD COLUMN note text");
});
afterAll(() => server?.remove());

/** Waits until the log has these events of a task. */
async function wantStory(id: string, want: readonly string[]): Promise<void> {
  await expect.poll(async () => {
    const rows = await server.sql(`SELECT type || ' ' || version AS line FROM taskfeed.events WHERE task_id = '${id}' ORDER BY id`);
    return rows.map((row) => row["line"]);
  }, { timeout: 30_000 }).toEqual(want);
}

test("Sequelize saves again after what no user can see, and tells when another was first", async () => {
  const sequelize = new Sequelize(server.postgres.url("feed").replace("?sslmode=disable", ""), { logging: false });
  class Task extends Model { declare note: string; declare progress: number; declare status: string }
  Task.init({
    id: { type: DataTypes.TEXT, primaryKey: true }, user_id: DataTypes.TEXT, status: DataTypes.TEXT, progress: DataTypes.SMALLINT, note: DataTypes.TEXT,
  }, { sequelize, schema: "taskfeed", tableName: "tasks", timestamps: false, version: true });
  try {
    const task = await Task.create({ id: "sequelize", user_id: "alice", status: "queued", progress: 0 }); // of version 0
    for (const change of [{ note: "a" }, { note: "b" }, { progress: 7 }, { note: "c" }, { status: "completed" }, { note: "d" }]) await task.update(change);
    const [mine, other] = [await Task.findByPk("sequelize"), await Task.findByPk("sequelize")];
    await other!.update({ note: "first" });
    await expect(mine!.update({ note: "late" })).rejects.toMatchObject({ name: "SequelizeOptimisticLockError" });
  } finally {
    await sequelize.close();
  }
  await wantStory("sequelize", ["task_queued 0", "task_progress 3", "task_completed 5"]);
});

test("MikroORM saves again after what no user can see, and tells when another was first", async () => {
  interface Row { id: string; user_id: string; status: string; progress: number; note?: string; version: number }
  const schema = new EntitySchema<Row>({
    name: "Task", schema: "taskfeed", tableName: "tasks",
    properties: {
      id: { type: "string", primary: true }, user_id: { type: "string" }, status: { type: "string" }, progress: { type: "smallint" },
      note: { type: "string", nullable: true }, version: { type: "integer", version: true },
    },
  });
  const orm = await MikroORM.init({ clientUrl: server.postgres.url("feed").replace("?sslmode=disable", ""), entities: [schema] });
  try {
    const em = orm.em.fork();
    const task = em.create<Row>("Task", { id: "mikro", user_id: "alice", status: "queued", progress: 0, version: 1 });
    await em.persistAndFlush(task);
    for (const change of [{ note: "a" }, { note: "b" }, { progress: 7 }, { note: "c" }, { status: "completed" }, { note: "d" }]) {
      em.assign(task, change);
      await em.flush();
    }
    const [mine, other] = [orm.em.fork(), orm.em.fork()];
    const [late, first] = [await mine.findOneOrFail<Row>("Task", "mikro"), await other.findOneOrFail<Row>("Task", "mikro")];
    first.note = "first";
    await other.flush();
    late.note = "late";
    await expect(mine.flush()).rejects.toBeInstanceOf(OptimisticLockError);
  } finally {
    await orm.close();
  }
  await wantStory("mikro", ["task_queued 1", "task_progress 4", "task_completed 6"]);
});

test("TypeORM reads the version that it has written", async () => {
  interface Row { id: string; user_id: string; status: string; progress: number; note: string | null; version: number }
  const schema = new TypeORMSchema<Row>({
    name: "Task", schema: "taskfeed", tableName: "tasks",
    columns: {
      id: { type: "text", primary: true }, user_id: { type: "text" }, status: { type: "text" }, progress: { type: "smallint" },
      note: { type: "text", nullable: true }, version: { type: "bigint", version: true, transformer: { to: (v) => v, from: Number } },
    },
  });
  const db = await new DataSource({ type: "postgres", url: server.postgres.url("feed").replace("?sslmode=disable", ""), entities: [schema] }).initialize();
  try {
    const tasks = db.getRepository<Row>("Task");
    const task = await tasks.save({ id: "typeorm", user_id: "alice", status: "queued", progress: 0, note: null } as Row);
    for (const change of [{ note: "a" }, { note: "b" }, { progress: 7 }, { note: "c" }, { status: "completed" }, { note: "d" }]) {
      const before = Number(task.version);
      await tasks.save(Object.assign(task, change));
      expect(Number(task.version)).toBe(before + 1);
      const locked = await db.transaction((tx) => tx.findOne<Row>("Task", { where: { id: "typeorm" }, lock: { mode: "optimistic", version: Number(task.version) } }));
      expect(locked?.note).toBe(task.note);
    }
    await expect(db.manager.findOne<Row>("Task", { where: { id: "typeorm" }, lock: { mode: "optimistic", version: 3 } })).rejects.toMatchObject({ name: "OptimisticLockVersionMismatchError" });
  } finally {
    await db.destroy();
  }
  await wantStory("typeorm", ["task_queued 1", "task_progress 4", "task_completed 6"]);
});
