"""Structured log lines: one JSON object a line on standard error, with time, level and process."""

import logging
import os
import shutil
import sys
from pathlib import Path

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
LOG_BYTES_MAX = 16 * 1024 * 1024  # of one file; the older half is kept beside it as NAME.log.1


def configure(level: str, process: str) -> None:
    """Set up structlog and the standard library's logging for this process (`process` is its kind, such as `doors`)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _named(process),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    render = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _plain, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for chatty in ("httpx", "httpcore", "uvicorn.access", "websockets.server"):
        logging.getLogger(chatty).setLevel(max(LEVELS[level], logging.WARNING))


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, "pid": os.getpid(), **event}

    return add


def _plain(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.pop("color_message", None)  # uvicorn's, for terminals
    return event


def bound_file(path: Path, bytes_max: int = LOG_BYTES_MAX) -> bool:
    """Keep a log file that others append to below its bound: copy it aside and empty it. True when it was cut.

    The writers keep their handle (opened for appending); lines written during the copy may be lost, which a log bears.
    """
    try:
        if path.stat().st_size <= bytes_max:
            return False
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        os.truncate(path, 0)
    except OSError:
        return False
    return True
