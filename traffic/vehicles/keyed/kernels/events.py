"""Where kernels put down what rules say: rows of EVENT, and beside each the sightings that it rests on."""

from traffic.vehicles.compiled import part


@part
def say(out, kind, rule, anchor, anchor_more, over):  # noqa: PLR0913 - a row's columns
    """The next event, for the rule to put in its numbers and proofs; the caller has seen to it that there is room."""
    event = out.events[out.written[0]]
    event["vehicle"] = out.written[1]
    event["side"] = out.written[2]
    event["kind"] = kind
    event["rule"] = rule
    event["anchor"] = anchor
    event["anchor_more"] = anchor_more
    event["over"] = over
    event["a"] = event["b"] = event["c"] = event["d"] = event["e"] = event["f"] = 0.0
    event["proofs"] = 0
    out.written[0] += 1
    return event


@part
def prove(out, s):
    """One sighting more that the newest event rests on."""
    at = out.written[0] - 1
    event = out.events[at]
    out.proofs[at, event["proofs"]] = s
    event["proofs"] += 1
