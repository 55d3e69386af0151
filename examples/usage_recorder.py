"""A queue in front of record(): what calls a model never waits for the ledger,
and never fails because of it.  The examples beside this one fill it.
    recorder = UsageRecorder("dbname=app user=recorder")
    recorder.record(response, user_id="alice")     # returns at once
    recorder.flush()                               # before the process ends; .recorded, .refused, .dropped and .error tell
"""
import atexit
import logging
import os
import queue
import threading
import time
from datetime import datetime, timezone

import psycopg
from psycopg.types.json import Jsonb

ARGUMENTS = "provider model org department project user_id session_id operation source request_id ts duration_ms success error tags".split()
RECORD = f"SELECT FROM usage_monitor.record(%(response)s, {', '.join(f'{name} => %({name})s' for name in ARGUMENTS)})"


def as_json(response):
    """What a client library returned, as it came: an object, or a list of them."""
    if isinstance(response, (list, tuple)):
        return [as_json(part) for part in response]
    for method, arguments in (("model_dump", {"mode": "json"}), ("to_dict", {}), ("dict", {})):
        if hasattr(response, method):
            return getattr(response, method)(**arguments)
    return response if isinstance(response, dict) else {"usage": None}


def tells(body, name):
    """Does the body, a chunk of it, or the message or response in one, say its id, model, ...?"""
    parts = [part for part in (body if isinstance(body, list) else [body]) if isinstance(part, dict)]
    return any(isinstance(inner, dict) and inner.get(name) for part in parts for inner in (part, part.get("message"), part.get("response")))


class UsageRecorder:
    def __init__(self, conninfo="", limit=10000, retry_after=1.0):  # limit: so many wait while the database is away
        self.recorded, self.refused, self.dropped, self.error = 0, 0, 0, None
        self.conninfo, self.retry_after, self.limit = conninfo, retry_after, limit
        self._start()
        atexit.register(self.flush)
        os.register_at_fork(after_in_child=self._start)  # what waits is the parent's, and so are its thread and connection

    def _start(self):
        self.queue = queue.Queue(self.limit)
        threading.Thread(target=self._run, args=(self.queue,), name="usage_recorder", daemon=True).start()

    def record(self, response, **who):
        try:
            body = as_json(response)
            call = dict.fromkeys(ARGUMENTS) | {"ts": datetime.now(timezone.utc)} | who
            call["request_id"] = call["request_id"] or (None if tells(body, "id") else os.urandom(16).hex())  # sent again, it counts once
            self.queue.put_nowait(call | {"response": Jsonb(body), "tags": Jsonb(call["tags"]) if call["tags"] else None})
        except Exception as error:  # a full queue, or what is no response
            self.dropped, self.error = self.dropped + 1, error

    def _run(self, calls):
        connection = None
        while call := calls.get():
            while call is not None:
                try:
                    connection = connection or psycopg.connect(self.conninfo, autocommit=True)
                    connection.execute(RECORD, call)
                    self.recorded, call = self.recorded + 1, None
                except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:  # away, busy, or a standby now
                    self.error, connection = error, connection and connection.close()
                    time.sleep(self.retry_after)
                except Exception as error:  # again would be refused again
                    self.refused, self.error, call = self.refused + 1, error, None
            calls.task_done()

    def flush(self, timeout=5.0):  # waits until all is recorded, or so long; returns how many still wait
        end = time.monotonic() + timeout
        while self.queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)
        if self.queue.unfinished_tasks:
            logging.getLogger(__name__).warning("%d calls wait to be recorded: %.200s", self.queue.unfinished_tasks, self.error)
        return self.queue.unfinished_tasks
