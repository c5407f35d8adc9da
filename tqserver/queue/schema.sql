-- The tables of the SQLite store, version 1. What changes later is a step of migrations.py besides.
--
-- Moments are milliseconds since 1970, UTC; 0 is never. What a task may go through (lifecycle.py has the same table):
--
--     DELAYED 0 --due--> READY 1 --claim--> LEASED 2 --finish--> DONE 3 | FAILED 4 | DEAD 5 | (gone, if not kept)
--     LEASED --release, retry, lease ended--> READY | DELAYED | DEAD 5 | (gone)
--     READY --take--> DONE | (gone)
--     FAILED | DEAD --requeue--> READY
--     READY | DELAYED --expired--> (gone)       DONE | FAILED | DEAD --kept long enough--> (gone)
--     any --removed--> (gone)
--
-- Each of these is one UPDATE or DELETE with the old state and the old lease in its WHERE.

CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,      -- numbers up to this one may have been given to tasks
    probed INTEGER NOT NULL    -- when it was last tried whether the file can be written
) STRICT;
INSERT INTO meta VALUES (1, 0, 0);

CREATE TABLE queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again: tasks of a dropped queue may be left for a while
    tenant TEXT,
    name TEXT,                              -- NULL once it is dropped; it has no tasks then, whatever is left of them
    created INTEGER NOT NULL,
    policy TEXT NOT NULL,                   -- JSON of model.Policy
    UNIQUE (tenant, name),
    CHECK ((tenant IS NULL) = (name IS NULL))
) STRICT;

CREATE TABLE task (
    seq INTEGER PRIMARY KEY,                -- by age; never used again; ids and leases hold it, so they need no index
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),
    priority INTEGER NOT NULL,
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    attempts_max INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    due INTEGER NOT NULL,                   -- when something happens to it by itself
    keep_ms INTEGER NOT NULL,
    id TEXT NOT NULL,
    tenant TEXT,                            -- only if the client chose the id
    key TEXT,
    key_expires INTEGER NOT NULL,
    lease TEXT NOT NULL DEFAULT '',
    owner TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    head BLOB NOT NULL,
    progress BLOB NOT NULL DEFAULT x'',
    result_head BLOB NOT NULL DEFAULT x'',
    result BLOB,
    payload BLOB,                           -- NULL if it is in the table large
    CHECK ((state = 2) = (lease <> '')),    -- those that are leased have a lease, and nobody else
    CHECK (state NOT IN (0, 2) OR due > 0), -- a delay and a lease end
    CHECK (state < 3 OR keep_ms > 0)        -- what has ended is there only if it is kept
) STRICT;

-- Payloads that would be written again with every change of their task.
CREATE TABLE large (
    seq INTEGER PRIMARY KEY,
    payload BLOB NOT NULL
) STRICT;
CREATE TRIGGER task_gone AFTER DELETE ON task WHEN old.payload IS NULL
BEGIN
    DELETE FROM large WHERE seq = old.seq;
END;

-- What is ready, in the order in which it is leased; pages, purges and counts of every state.
CREATE INDEX task_place ON task (queue, state, priority);
-- What is overdue.
CREATE INDEX task_due ON task (due) WHERE due > 0;
CREATE UNIQUE INDEX task_chosen ON task (tenant, id) WHERE tenant IS NOT NULL;
CREATE UNIQUE INDEX task_key ON task (queue, key) WHERE key IS NOT NULL;
