import { Database } from "bun:sqlite";
import { Problem } from "./problem";

export type NewItem = { name: string; quantity: number };
export type Item = NewItem & { id: number; changed_at: string };
export type Page = { limit: number; after: number };

/** The items, in one SQLite file that several instances of this worker may have open. */
export class Items {
  private readonly database: Database;

  constructor(path: string) {
    this.database = new Database(path, { create: true, strict: true });
    this.database.run("PRAGMA busy_timeout = 5000"); // first: what follows may have to wait for another instance
    this.database.run("PRAGMA journal_mode = WAL"); // readers do not wait for a writer
    this.database.run("PRAGMA synchronous = NORMAL");
    this.database.run(`
      CREATE TABLE IF NOT EXISTS items (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        quantity INTEGER NOT NULL CHECK (quantity >= 0),
        changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
      )`);
  }

  list({ limit, after }: Page): Item[] {
    return this.database
      .query<Item, Page>("SELECT * FROM items WHERE id > $after ORDER BY id LIMIT $limit")
      .all({ after, limit });
  }

  get(id: number): Item {
    return this.found(this.database.query<Item, { id: number }>("SELECT * FROM items WHERE id = $id").get({ id }));
  }

  add({ name, quantity }: NewItem): Item {
    const sql = "INSERT INTO items (name, quantity) VALUES ($name, $quantity) RETURNING *";
    return this.found(this.database.query<Item, NewItem>(sql).get({ name, quantity }));
  }

  replace(id: number, { name, quantity }: NewItem): Item {
    const sql = `
      UPDATE items SET name = $name, quantity = $quantity, changed_at = strftime('%Y-%m-%dT%H:%M:%fZ')
      WHERE id = $id RETURNING *`;
    return this.found(this.database.query<Item, NewItem & { id: number }>(sql).get({ id, name, quantity }));
  }

  remove(id: number): void {
    this.found(this.database.query<Item, { id: number }>("DELETE FROM items WHERE id = $id RETURNING *").get({ id }));
  }

  close(): void {
    this.database.close();
  }

  private found(item: Item | null): Item {
    if (item === null) throw new Problem(404, "There is no such item.");
    return item;
  }
}
