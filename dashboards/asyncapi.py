"""The live view's protocol as AsyncAPI 3.0, made from the very types that are sent and read."""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from dashboards.protocol import (
    CLIENT_TYPES,
    CLOSE_OVERFLOW,
    CLOSE_PROTOCOL,
    CLOSE_SESSION,
    CLOSE_TICKET,
    MESSAGE_BYTES_MAX,
    SERVER_TYPES,
)
from traffic.limits import CYCLE_S, FEED_KEEP_S, LINK_FRESH_S, SOCKET_BUFFER_BYTES_MAX, SOCKET_TICK_MS, TICKET_S

VERSION = "1.2.0"
DESCRIPTION = f"""\
The live view of the roads, scoped to the viewer's unit. Frames are JSON in text messages.

1. `POST /api/socket-ticket` (session cookie) gives a single-use ticket, good for {TICKET_S} s. `hello` with it is the
   first message; the answer is `hello` with the instance's epoch.
2. `subscribe` (or `resume` with the cursor of the last frame) asks for topics; a snapshot of each follows, then deltas.
   Frames come at most each {SOCKET_TICK_MS} ms, those of one tick in one write.
3. `seq` is a cursor `<epoch>|<partition>:<seq>,...`: all alerts up to it were sent on this socket. It is good at every
   API process. The feed is kept for {FEED_KEEP_S // 60} minutes; an older cursor is answered with a snapshot.
4. A slow client gets the newest state of all other topics instead of a backlog. Alerts are never dropped: beyond
   {SOCKET_BUFFER_BYTES_MAX // 2**20} MiB unsent the socket closes with {CLOSE_OVERFLOW}, and `resume` replays them.
5. `roads` (flow at checkpoints), `links` (their state) and `units` (crews, key vehicles) are told of the tiles that the
   viewport touches; `events`, `alerts` and `figures` of the whole area. A link is told as unknown (level 0, nulls) when
   its data is older than {LINK_FRESH_S + CYCLE_S} s or no cycle came for {LINK_FRESH_S} s: unknown is never free.
6. An alert's card: `kind`, `state`, `level`, `plate`, `rule`, `confidence`, `observations`, one object named after what
   the rule says (`entry` of the watch-list, `section`, else the kind), and where it stands in people's hands:
   `verification` (null, or verdict `valid` or `false` with reason, by, at), `shelf` (null, or reason, until, by),
   `needs_verification` (nothing is ordered on it before a person looked), `trust` (0..1 of its least trusted sensor,
   null when nothing is known), and of watch-list hits `match`: how (`exact`, `class_uncertain`, `wildcard`,
   `misread`), probability, and each reading with its own. A deed is a revision: `change` is then verified, shelved or
   unshelved.
7. Close codes: {CLOSE_PROTOCOL} a message was not of this protocol, {CLOSE_TICKET} the ticket is not good,
   {CLOSE_SESSION} the session ended or its rights changed, {CLOSE_OVERFLOW} come back in a moment.

Messages from the client hold at most {MESSAGE_BYTES_MAX // 1024} KiB. All times are microseconds since 1970 UTC.
"""


def describe(url: str) -> dict[str, Any]:
    """The document for a live view at this address (ws://host:port/view)."""
    schemas, components = msgspec.json.schema_components(
        [*CLIENT_TYPES, *SERVER_TYPES], ref_template="#/components/schemas/{name}"
    )
    names = [kind.__name__ for kind in (*CLIENT_TYPES, *SERVER_TYPES)]
    messages = {
        name: {"name": name, "title": kind.__doc__, "contentType": "application/json", "payload": schema}
        for name, kind, schema in zip(names, (*CLIENT_TYPES, *SERVER_TYPES), schemas, strict=True)
    }
    parts = urlsplit(url)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Traffic live view", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"live": {"host": parts.netloc, "protocol": parts.scheme}},
        "channels": {
            "view": {
                "address": parts.path,
                "servers": [{"$ref": "#/servers/live"}],
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {
            "tell": _operation("receive", "What a client says.", CLIENT_TYPES),
            "show": _operation("send", "What a client is told.", SERVER_TYPES),
        },
        "components": {"messages": messages, "schemas": components},
    }


def _operation(action: str, summary: str, kinds: tuple[type, ...]) -> dict[str, Any]:
    """`receive` and `send` are the server's view, as AsyncAPI 3 wants it."""
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/view"},
        "messages": [{"$ref": f"#/channels/view/messages/{kind.__name__}"} for kind in kinds],
    }
