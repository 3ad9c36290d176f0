// Runs every rule of activitypub-testing and prints one JSON document a line: {slug, outcome, info}.
//
//   node rules.mjs '{"actor": ACTOR_URL, "object": OBJECT_URL, "authorization": "Bearer ..."}'
//
// Each rule is given the inputs that it names. Those about a collection of an object (likes, shares) are
// asked about the object, the others about the actor.
import { activityPubTestCases } from "activitypub-testing/test-cases";

const { actor, object, authorization } = JSON.parse(process.argv[2]);
const accept = { headers: { accept: "application/activity+json", authorization } };
const fetched = async (url) => (await fetch(url, accept)).json();

const profile = await fetched(actor);
const published = await fetched(object);
// What the rules submit by themselves is a Note without any content.
const submission = JSON.stringify({
  "@context": ["https://www.w3.org/ns/activitystreams"],
  type: "Note",
  content: "submitted by a rule",
  to: ["https://www.w3.org/ns/activitystreams#Public"],
});

for (const rule of activityPubTestCases) {
  const subject = /^(likes|shares)-/.test(rule.slug) ? published : profile;
  const inputs = {
    id: actor,
    actor: JSON.stringify(profile),
    object: JSON.stringify(subject),
    outbox: profile.outbox,
    submission,
    time: "T20S",
    authorization,
  };
  let result;
  try {
    result = await rule.run(inputs);
  } catch (error) {
    result = { outcome: "cantTell", info: String(error?.message ?? error) };
  }
  console.log(JSON.stringify({ slug: rule.slug, outcome: result.outcome, info: result.info ?? "" }));
}
