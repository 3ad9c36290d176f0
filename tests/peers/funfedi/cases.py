"""Prints the example activities of funfedi.dev, one JSON document a line.

    python3 cases.py SENDING_ACTOR RECEIVING_ACTOR

A line is {"suite", "name", "activity"}. The packages are found on PYTHONPATH; the sending actor is
the author of everything, the receiving one is addressed. Ids are numbered, so that two runs say
the same.
"""

import itertools
import json
import sys
import types
from datetime import datetime, timezone

SENDER, RECEIVER = sys.argv[1], sys.argv[2]
ORIGIN = "/".join(SENDER.split("/")[:3])
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
# What the examples of fediverse-pasture-inputs call the sender.
PASTURE = "http://pasture-one-actor"


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def stand_in(name, **members):
    """A module with what the packages import from others and do not use for making cases."""
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


class Entry:
    pass


stand_in("fediverse_pasture")
stand_in("fediverse_pasture.runner")
stand_in("fediverse_pasture.runner.entry", Entry=Entry)
stand_in("bovine")
stand_in("bovine.utils", now_isoformat=now)
stand_in("pytest", fixture=lambda function: function)
stand_in("jsonschema", ValidationError=Exception, validate=lambda *args, **options: None)

import funfedi_parsing_test_cases as parsing  # noqa: E402
from fediverse_pasture_inputs import available  # noqa: E402
from funfedi_parsing_test_cases.types import Environment  # noqa: E402

numbers = itertools.count(1)


def new_id(prefix="objects"):
    return f"{ORIGIN}/{prefix}/{next(numbers)}"


class Numbered(Environment):
    def id_maker(self, prefix="objects"):
        return new_id(prefix)


def ours(value):
    """The same value, with the name of the sender as it is here."""
    if isinstance(value, str):
        return value.replace(f"{PASTURE}/actor", SENDER).replace(PASTURE, ORIGIN)
    if isinstance(value, list):
        return [ours(item) for item in value]
    if isinstance(value, dict):
        return {name: ours(item) for name, item in value.items()}
    return value


def pasture(example):
    """The Create of a Note that an example changes, as the package's documentation makes it."""
    note = {
        "type": "Note",
        "attributedTo": SENDER,
        "to": [PUBLIC],
        "id": new_id(),
        "published": now(),
        **ours(example),
    }
    note["to"] = note["to"] + [RECEIVER]
    context = note.get(
        "@context",
        [
            "https://www.w3.org/ns/activitystreams",
            {"Hashtag": "as:Hashtag", "sensitive": "as:sensitive"},
        ],
    )
    return {
        "@context": context,
        "type": "Create",
        "actor": SENDER,
        "to": note["to"],
        "id": new_id("activities"),
        "published": now(),
        "object": note,
    }


def say(suite, name, activity):
    print(json.dumps({"suite": suite, "name": name, "activity": activity}))


for suite, inputs in sorted(available.items()):
    for number, example in enumerate(inputs.examples):
        say(f"pasture/{suite}", str(number), pasture(example))

profile = {"type": "Person", "id": SENDER, "inbox": f"{SENDER}/inbox", "outbox": f"{SENDER}/outbox"}
environment = Numbered(sending_actor_profile=profile, receiving_actor=RECEIVER)
for suite in [
    parsing.activity_suite,
    parsing.event_suite,
    parsing.notes_suite,
    parsing.poll_suite,
]:
    for part, name in suite.names:
        activity, _ = suite.retrieve(part, name).maker.activity_and_object(environment)
        say(f"parsing/{suite.name}/{part}", name, activity)
