"""Bring the packages, or say in one sentence why not."""

import sys

from tests.community import ensure
from traffic.errors import TrafficError
from traffic.progress import Progress

if __name__ == "__main__":
    try:
        ensure(Progress(say=lambda line: print(line, flush=True)))
    except TrafficError as error:
        sys.exit(f"tests: {error}")
