/**
 * A JSON API on Bun without a dependency.
 *
 *     GET    /items?limit=20&after=ID    a page of items, oldest first
 *     POST   /items                      makes one: 201 and Location
 *     GET    /items/ID                   one item
 *     PUT    /items/ID                   replaces it
 *     DELETE /items/ID                   204
 *
 * Errors are application/problem+json (RFC 9457). The paths are without the prefix (/api): tqserver takes it off and
 * tells it as WORKER_ROUTE, which is what links are made with.
 */

import { mkdirSync } from "node:fs";
import { readItem, readPage } from "./src/input";
import { Items } from "./src/items";
import { Problem } from "./src/problem";

/** What /version answers. Change it and save: the new version answers while the old one finishes what it began. */
const version = "1";

/** The longest body of a request, in bytes: an item is far smaller. */
const bodyBytesMax = 64 * 1024;

/**
 * Seconds that Bun keeps a silent connection open. It must be longer than the server keeps one for reuse; 255 is the most
 * that Bun takes.
 */
const idleTimeoutSeconds = 255;

const { WORKER_PORT, WORKER_SOCKET, WORKER_ROUTE = "" } = process.env;
if (!WORKER_PORT && !WORKER_SOCKET) {
  throw new Error("neither WORKER_PORT nor WORKER_SOCKET is set: this program is started by tqserver");
}
const prefix = WORKER_ROUTE === "/" ? "" : WORKER_ROUTE;

mkdirSync("data", { recursive: true }); // ignored by the watcher, so that writing here restarts nothing
const items = new Items("data/items.sqlite");

type Action = (request: Request, id: number, url: URL) => Response | Promise<Response>;

const collection: Record<string, Action> = {
  GET: (_request, _id, url) => Response.json({ items: items.list(readPage(url.searchParams)) }),
  POST: async (request) => {
    const item = items.add(await readItem(request));
    return Response.json(item, { status: 201, headers: { Location: `${prefix}/items/${item.id}` } });
  },
};

const single: Record<string, Action> = {
  GET: (_request, id) => Response.json(items.get(id)),
  PUT: async (request, id) => Response.json(items.replace(id, await readItem(request))),
  DELETE: (_request, id) => {
    items.remove(id);
    return new Response(null, { status: 204 });
  },
};

const fixed: Record<string, Record<string, Action>> = {
  "/health": { GET: () => new Response("ok\n") },
  "/bench": { GET: () => new Response("hello world") },
  "/version": { GET: () => new Response(version) },
  "/items": collection,
};

/** The actions of a path and the id in it, if any. */
function find(path: string): [Record<string, Action>, number] {
  if (Object.hasOwn(fixed, path)) return [fixed[path], 0];
  const match = /^\/items\/([1-9][0-9]{0,15})$/.exec(path);
  if (match === null) throw new Problem(404, "There is nothing here.");
  return [single, Number(match[1])];
}

async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  const [actions, id] = find(url.pathname);
  const method = request.method === "HEAD" ? "GET" : request.method; // Bun leaves the body of a HEAD away
  if (!Object.hasOwn(actions, method)) {
    const allowed = Object.keys(actions).flatMap((name) => (name === "GET" ? ["GET", "HEAD"] : [name]));
    throw new Problem(405, `${request.method} cannot be done here.`, { Allow: allowed.join(", ") });
  }
  return await actions[method](request, id, url);
}

const server = Bun.serve({
  ...(WORKER_SOCKET ? { unix: WORKER_SOCKET } : { hostname: "127.0.0.1", port: Number(WORKER_PORT) }),
  idleTimeout: idleTimeoutSeconds,
  maxRequestBodySize: bodyBytesMax,
  development: false, // errors are answered below, in the same form as all others
  fetch: async (request) => {
    try {
      return await answer(request);
    } catch (error) {
      if (error instanceof Problem) return error.response();
      console.error(error); // into the worker's log, and not to the client
      return new Problem(500, "Something went wrong here.").response();
    }
  },
});

// On TERM: accept no more, let what is in flight end, and go. The server has already stopped sending requests here.
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await server.stop();
    items.close();
    process.exit(0);
  });
}
