"""Records what LiteLLM calls, as a library or as a proxy.

    litellm.callbacks = [UsageLogger(UsageRecorder("dbname=app user=recorder"))]

or, for the proxy, in config.yaml:  litellm_settings: {callbacks: litellm_callback.logger}

The price is the ledger's: LiteLLM's own cost is not taken.
"""
from datetime import datetime, timezone

from litellm.integrations.custom_logger import CustomLogger

from usage_recorder import UsageRecorder, as_json

# of LiteLLM's standard payload, which has the prompt and the answer, too
KEPT = ("id", "model", "custom_llm_provider", "prompt_tokens", "completion_tokens", "total_tokens")


class UsageLogger(CustomLogger):
    def __init__(self, recorder, **who):
        super().__init__()
        self.recorder, self.who = recorder, who

    def _record(self, kwargs, response, failed):
        try:
            payload = kwargs.get("standard_logging_object") or {}
            if payload.get("cache_hit"):
                return  # nobody was called
            metadata = payload.get("metadata") or {}
            body = {key: payload[key] for key in KEPT if payload.get(key) is not None}
            usage = metadata.get("usage_object") or (as_json(response) or {}).get("usage")
            if usage:
                # it says what was cached; the payload's own counts do not
                body = {key: body[key] for key in KEPT[:3] if key in body} | {"usage": as_json(usage)}
            elif failed or "prompt_tokens" not in body:
                body = {key: body[key] for key in KEPT[:3] if key in body} | ({"error": "failed"} if failed else {"usage": None})
            began, ended = payload.get("startTime"), payload.get("endTime")
            who = {
                "success": not failed,
                "model": payload.get("model") or kwargs.get("model"),
                "org": metadata.get("user_api_key_org_id"),
                "project": metadata.get("user_api_key_team_alias") or metadata.get("user_api_key_team_id"),
                "user_id": payload.get("end_user") or metadata.get("user_api_key_user_id") or kwargs.get("user"),
                "operation": payload.get("call_type"),
                "source": metadata.get("user_api_key_alias"),
                "ts": datetime.fromtimestamp(began, timezone.utc) if began else datetime.now(timezone.utc),
                "duration_ms": (ended - began) * 1000 if began and ended else None,
            } | self.who
            if failed:
                who["error"] = payload.get("error_str") or str(kwargs.get("exception") or "failed")
            self.recorder.record(body, **who)
        except Exception as problem:  # never the application's
            self.recorder.dropped, self.recorder.error = self.recorder.dropped + 1, problem

    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        self._record(kwargs, response_obj, False)

    def log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self._record(kwargs, response_obj, True)

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self._record(kwargs, response_obj, False)

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self._record(kwargs, response_obj, True)


logger = UsageLogger(UsageRecorder())  # by libpq's variables, PGDATABASE, ...
