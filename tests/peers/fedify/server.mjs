// A small ActivityPub server on Fedify: what it gets it verifies as Fedify does and writes down;
// what it shall send, the test tells it over a second port.
//
// First line of standard output: {"base": ..., "control": ...}. It ends with its standard input.
//
//   GET  /received              what passed Fedify's checks, in order
//   POST /send                  {as, to: [actor], activity, shared?}: signed and sent by Fedify
//   POST /forge                 {as, inbox, activity, how}: signed well, then made wrong
//   POST /rotate                {as}: new keys under the same key ids
//   POST /alias                 {as, of}: the actor lists another one in alsoKnownAs
//   POST /note                  {id, note}: an object that this server serves
//   POST /lookup                {as, url}: a signed fetch, read with Fedify's vocabulary

import { createServer } from "node:http";
import { parseArgs } from "node:util";
import {
  createFederation,
  generateCryptoKeyPair,
  MemoryKvStore,
  signObject,
  signRequest,
} from "@fedify/fedify";
import {
  Accept,
  Activity,
  CryptographicKey,
  Endpoints,
  Follow,
  Note,
  Person,
  Undo,
} from "@fedify/vocab";

const { values: options } = parseArgs({
  options: { knock: { type: "string", default: "rfc9421" } },
});

/** @type {Map<string, {keys: CryptoKeyPair[], aliases: URL[], followers: Map<string, object>}>} */
const actors = new Map();
const notes = new Map();
const received = [];

async function newKeys() {
  return [await generateCryptoKeyPair("RSASSA-PKCS1-v1_5"), await generateCryptoKeyPair("Ed25519")];
}

for (const name of ["ada", "bert"]) {
  actors.set(name, { keys: await newKeys(), aliases: [], followers: new Map() });
}

const federation = createFederation({
  kv: new MemoryKvStore(),
  allowPrivateAddress: true,
  firstKnock: options.knock,
});

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
  .setKeyPairsDispatcher((_ctx, identifier) => actors.get(identifier)?.keys ?? []);

federation.setOutboxDispatcher("/users/{identifier}/outbox", () => ({ items: [] }));
federation
  .setFollowersDispatcher("/users/{identifier}/followers", (_ctx, identifier) => ({
    items: [...(actors.get(identifier)?.followers.values() ?? [])],
  }));
federation.setObjectDispatcher(Note, "/notes/{id}", (ctx, { id }) => {
  const note = notes.get(id);
  return note == null ? null : Note.fromJsonLd(note, ctx);
});

async function write(ctx, activity) {
  received.push({
    type: activity.constructor.name,
    id: activity.id?.href,
    actor: activity.actorId?.href,
    recipient: ctx.recipient,
    scheme: ctx.request?.headers.has("signature-input") ? "rfc9421" : "cavage",
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
    actors.get(target.identifier)?.followers.set(follower.id.href, follower);
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
function serve(handle) {
  const server = createServer(async (incoming, outgoing) => {
    try {
      const chunks = [];
      for await (const chunk of incoming) chunks.push(chunk);
      const { method, headers } = incoming;
      const url = new URL(incoming.url, `http://${headers.host}`);
      const body = chunks.length > 0 ? Buffer.concat(chunks) : undefined;
      const answer = await handle(new Request(url, { method, headers, body }));
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

const base = `http://localhost:${await serve(handler)}`;
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

const commands = {
  "GET /received": () => received,
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
  "POST /note": ({ id, note }) => {
    notes.set(id, note);
    return { id };
  },
  "POST /lookup": async ({ as, url }) => {
    const documentLoader = await context.getDocumentLoader({ identifier: as });
    const object = await context.lookupObject(url, { documentLoader });
    if (object == null) return { found: null };
    const found = await object.toJsonLd({ format: "compact", contextLoader: context.contextLoader });
    const key = object instanceof Person ? await object.getPublicKey(context) : null;
    return { found, type: object.constructor.name, key: key instanceof CryptographicKey };
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
