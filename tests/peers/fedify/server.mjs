// A small ActivityPub server on Fedify: what it gets it verifies as Fedify does and writes down;
// what it shall send, the test tells it over a second port.
//
// First line of standard output: {"base": ..., "control": ...}. It ends with its standard input.
//
//   GET  /received              what passed Fedify's checks, in order
//   GET  /requests              every request that came: {method, path, scheme, status}
//   GET  /sent                  every request that Fedify made: {method, url, scheme, status}
//   POST /send                  {as, to: [actor], activity, shared?}: signed and sent by Fedify
//   POST /forge                 {as, inbox, activity, how}: signed well, then made wrong
//   POST /rotate                {as}: new keys under the same key ids
//   POST /alias                 {as, of}: the actor lists another one in alsoKnownAs
//   POST /manual                {as}: the actor answers no Follow by itself
//   POST /secure                {on}: whether documents are for signed requests only
//   POST /note                  {id, note}: an object that this server serves
//   POST /outbox                {as, activities}: what the actor's outbox lists, newest first
//   POST /lookup                {as?, url}: a fetch, signed as an actor, read with Fedify's vocabulary
//   POST /traverse              {as?, url}: a collection, followed over all of its pages
//   POST /webfinger             {resource}: the JRD that Fedify finds
//   POST /nodeinfo              {document}: what Fedify reads about the software
//   POST /verify                {document}: whether Fedify finds a valid proof by the actor
//   POST /expand                {document}: JSON-LD expansion that fails where a member would be lost

import { createServer } from "node:http";
import { parseArgs } from "node:util";
import {
  createFederation,
  generateCryptoKeyPair,
  MemoryKvStore,
  parseNodeInfo,
  signObject,
  signRequest,
  verifyObject,
} from "@fedify/fedify";
import {
  Accept,
  Activity,
  Collection,
  CryptographicKey,
  Endpoints,
  Follow,
  Note,
  Person,
  traverseCollection,
  Undo,
} from "@fedify/vocab";
import jsonld from "jsonld";

const { values: options } = parseArgs({
  options: { knock: { type: "string", default: "rfc9421" } },
});

/** Items of an outbox on one page. */
const PAGE = 3;

/**
 * @typedef {object} Local
 * @property {CryptoKeyPair[]} keys
 * @property {URL[]} aliases
 * @property {Map<string, object>} followers
 * @property {object[]} outbox activities as JSON, newest first
 * @property {boolean} manual whether it answers no Follow by itself
 */
/** @type {Map<string, Local>} */
const actors = new Map();
const notes = new Map();
const received = [];
const requests = [];
const sent = [];
let secure = false;

const schemeOf = (headers) => {
  if (headers.has("signature-input")) return "rfc9421";
  return headers.has("signature") ? "cavage" : "none";
};

// Fedify makes all of its requests with the global function.
const plainFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const request = input instanceof Request ? input : new Request(input, init);
  const { method, url } = request;
  const note = { method, url, scheme: schemeOf(request.headers), status: 0 };
  sent.push(note);
  const answer = await plainFetch(input, init);
  note.status = answer.status;
  return answer;
};

async function newKeys() {
  return [await generateCryptoKeyPair("RSASSA-PKCS1-v1_5"), await generateCryptoKeyPair("Ed25519")];
}

for (const name of ["ada", "bert"]) {
  const keys = await newKeys();
  actors.set(name, { keys, aliases: [], followers: new Map(), outbox: [], manual: false });
}

const federation = createFederation({
  kv: new MemoryKvStore(),
  allowPrivateAddress: true,
  firstKnock: options.knock,
});

/** What Fedify's manual calls authorized fetch: the request is signed by some actor's key. */
const allowed = async (ctx) => !secure || (await ctx.getSignedKeyOwner()) != null;

federation
  .setActorDispatcher("/users/{identifier}", async (ctx, identifier) => {
    const actor = actors.get(identifier);
    if (actor == null) return null;
    const keys = await ctx.getActorKeyPairs(identifier);
    return new Person({
      id: ctx.getActorUri(identifier),
      preferredUsername: identifier,
      name: identifier,
      aliases: actor.aliases,
      inbox: ctx.getInboxUri(identifier),
      outbox: ctx.getOutboxUri(identifier),
      followers: ctx.getFollowersUri(identifier),
      endpoints: new Endpoints({ sharedInbox: ctx.getInboxUri() }),
      publicKey: keys[0].cryptographicKey,
      assertionMethods: keys.map((key) => key.multikey),
    });
  })
  .setKeyPairsDispatcher((_ctx, identifier) => actors.get(identifier)?.keys ?? [])
  .authorize(allowed);

federation
  .setOutboxDispatcher("/users/{identifier}/outbox", async (ctx, identifier, cursor) => {
    const from = Number(cursor ?? 0);
    const outbox = actors.get(identifier)?.outbox ?? [];
    const page = outbox.slice(from, from + PAGE);
    return {
      items: await Promise.all(page.map((activity) => Activity.fromJsonLd(activity, ctx))),
      nextCursor: from + PAGE < outbox.length ? String(from + PAGE) : null,
    };
  })
  .setCounter((_ctx, identifier) => actors.get(identifier)?.outbox.length ?? 0)
  .setFirstCursor(() => "0")
  .authorize(allowed);
federation
  .setFollowersDispatcher("/users/{identifier}/followers", (_ctx, identifier) => ({
    items: [...(actors.get(identifier)?.followers.values() ?? [])],
  }))
  .authorize(allowed);
federation
  .setObjectDispatcher(Note, "/notes/{id}", (ctx, { id }) => {
    const note = notes.get(id);
    return note == null ? null : Note.fromJsonLd(note, ctx);
  })
  .authorize(allowed);

async function write(ctx, activity) {
  received.push({
    type: activity.constructor.name,
    id: activity.id?.href,
    actor: activity.actorId?.href,
    recipient: ctx.recipient,
    activity: await activity.toJsonLd({ format: "compact", contextLoader: ctx.contextLoader }),
  });
}

federation
  .setInboxListeners("/users/{identifier}/inbox", "/inbox")
  .setSharedKeyDispatcher(() => ({ identifier: "ada" }))
  .on(Follow, async (ctx, follow) => {
    await write(ctx, follow);
    const target = ctx.parseUri(follow.objectId);
    const follower = await follow.getActor(ctx);
    if (target?.type !== "actor" || follower?.inboxId == null) return;
    const followed = actors.get(target.identifier);
    if (followed == null || followed.manual) return;
    followed.followers.set(follower.id.href, follower);
    await ctx.sendActivity(
      target,
      follower,
      new Accept({
        id: new URL(`#accepts/${crypto.randomUUID()}`, follow.objectId),
        actor: follow.objectId,
        object: follow,
      }),
    );
  })
  .on(Undo, async (ctx, undo) => {
    await write(ctx, undo);
    const object = await undo.getObject(ctx);
    if (object instanceof Follow) {
      const target = ctx.parseUri(object.objectId);
      if (target?.type === "actor") {
        actors.get(target.identifier)?.followers.delete(undo.actorId?.href);
      }
    }
  })
  .on(Activity, write)
  .onError((_ctx, error) => console.error("inbox:", error));

const handler = (request) => federation.fetch(request, { contextData: undefined });

/** Runs a handler of the Fetch API on node's own server. */
function serve(handle, log) {
  const server = createServer(async (incoming, outgoing) => {
    try {
      const chunks = [];
      for await (const chunk of incoming) chunks.push(chunk);
      const { method, headers } = incoming;
      const url = new URL(incoming.url, `http://${headers.host}`);
      const body = chunks.length > 0 ? Buffer.concat(chunks) : undefined;
      const request = new Request(url, { method, headers, body });
      const scheme = schemeOf(request.headers);
      const answer = await handle(request);
      log?.push({ method, path: url.pathname, scheme, status: answer.status });
      outgoing.writeHead(answer.status, Object.fromEntries(answer.headers));
      outgoing.end(Buffer.from(await answer.arrayBuffer()));
    } catch (error) {
      console.error(`${incoming.method} ${incoming.url}:`, error);
      outgoing.writeHead(500).end(String(error));
    }
  });
  return new Promise((done) =>
    server.listen(0, "127.0.0.1", () => done(server.address().port))
  );
}

const base = `http://localhost:${await serve(handler, requests)}`;
const context = federation.createContext(new URL(base), undefined);

async function parse(json) {
  return await Activity.fromJsonLd(json, context);
}

/** Signs with Fedify's own functions, breaks what `how` names, and posts it. */
async function forge({ as, inbox, activity, how, spec }) {
  const own = await context.getActorKeyPairs(as);
  const [rsa, ed25519] = how === "wrong-key" ? await newKeys() : own;
  const keyId = own[0].keyId;
  let body = await (await parse(activity)).toJsonLd({ contextLoader: context.contextLoader });
  if (how === "tampered-proof" || how === "proof-only") {
    const signed = await signObject(
      await parse(activity),
      ed25519.privateKey,
      own[1].multikey.id,
      context,
    );
    body = await signed.toJsonLd({ contextLoader: context.contextLoader });
  }
  if (how === "tampered-proof") body.published = "2026-01-01T00:00:00Z";
  let request = new Request(inbox, {
    method: "POST",
    headers: { "content-type": "application/activity+json" },
    body: JSON.stringify(body),
  });
  if (how !== "proof-only") {
    request = await signRequest(request, rsa.privateKey, keyId, { spec });
  }
  if (how === "tampered-body") {
    body.published = "2026-01-01T00:00:00Z";
    request = new Request(inbox, {
      method: "POST",
      headers: request.headers,
      body: JSON.stringify(body),
    });
  }
  const answer = await fetch(request);
  return { status: answer.status, body: await answer.text() };
}

/** Members and types that no context defines: ActivityStreams makes them blank (`@vocab: "_:"`). */
function* blanks(value) {
  if (Array.isArray(value)) for (const one of value) yield* blanks(one);
  if (value === null || typeof value !== "object" || Array.isArray(value)) return;
  for (const type of value["@type"] ?? []) if (type.startsWith("_:")) yield type;
  for (const [name, inner] of Object.entries(value)) {
    if (name.startsWith("_:")) yield name;
    yield* blanks(inner);
  }
}

/** Fetches as an actor, or unsigned as nobody. */
const loader = async (as) =>
  as == null ? context.documentLoader : await context.getDocumentLoader({ identifier: as });

const commands = {
  "GET /received": () => received,
  "GET /requests": () => requests,
  "GET /sent": () => sent,
  "POST /send": async ({ as, to, activity, shared }) => {
    const loader = await context.getDocumentLoader({ identifier: as });
    const recipients = await Promise.all(
      to.map((url) => context.lookupObject(url, { documentLoader: loader })),
    );
    await context.sendActivity({ identifier: as }, recipients, await parse(activity), {
      preferSharedInbox: shared ?? false,
    });
    return { sent: true };
  },
  "POST /forge": forge,
  "POST /rotate": async ({ as }) => {
    actors.get(as).keys = await newKeys();
    return { rotated: as };
  },
  "POST /alias": ({ as, of }) => {
    actors.get(as).aliases.push(new URL(of));
    return { aliases: actors.get(as).aliases };
  },
  "POST /manual": ({ as }) => {
    actors.get(as).manual = true;
    return { manual: as };
  },
  "POST /secure": ({ on }) => {
    secure = on;
    return { secure };
  },
  "POST /outbox": ({ as, activities }) => {
    actors.get(as).outbox = activities;
    return { as };
  },
  "POST /note": ({ id, note }) => {
    notes.set(id, note);
    return { id };
  },
  "POST /lookup": async ({ as, url }) => {
    const documentLoader = await loader(as);
    const object = await context.lookupObject(url, { documentLoader });
    if (object == null) return { found: null };
    const found = await object.toJsonLd({ format: "compact", contextLoader: context.contextLoader });
    const key = object instanceof Person ? await object.getPublicKey(context) : null;
    return { found, type: object.constructor.name, key: key instanceof CryptographicKey };
  },
  "POST /traverse": async ({ as, url }) => {
    const documentLoader = await loader(as);
    const collection = await context.lookupObject(url, { documentLoader });
    if (!(collection instanceof Collection)) return { found: collection?.constructor.name ?? null };
    const items = [];
    const options = { documentLoader, contextLoader: context.contextLoader };
    for await (const item of traverseCollection(collection, options)) {
      items.push({ type: item.constructor.name, id: item.id?.href });
    }
    return { found: collection.constructor.name, total: collection.totalItems, items };
  },
  "POST /webfinger": async ({ resource }) => ({ jrd: await context.lookupWebFinger(resource) }),
  "POST /nodeinfo": ({ document }) => ({ software: parseNodeInfo(document)?.software ?? null }),
  "POST /verify": async ({ document }) => {
    const activity = await verifyObject(Activity, document, context);
    return { verified: activity != null };
  },
  "POST /expand": async ({ document }) => {
    const documentLoader = context.contextLoader;
    try {
      // Safe mode throws where expansion would drop a member or leave an id relative.
      const expanded = await jsonld.expand(document, { documentLoader, safe: true });
      const lost = [...blanks(expanded)];
      return lost.length > 0 ? { lost } : { expanded };
    } catch (error) {
      return { lost: error.details?.event ?? error.message };
    }
  },
};

const control = await serve(async (request) => {
  const command = commands[`${request.method} ${new URL(request.url).pathname}`];
  if (command == null) return new Response("no such command", { status: 404 });
  const body = request.method === "POST" ? await request.json() : undefined;
  try {
    return Response.json(await command(body));
  } catch (error) {
    return Response.json({ error: String(error), cause: String(error.cause) }, { status: 502 });
  }
});

console.log(JSON.stringify({ base, control: `http://127.0.0.1:${control}` }));
process.stdin.on("end", () => process.exit(0)).resume();
