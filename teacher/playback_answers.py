"""What every page of the recorded teacher answers with: JSON, errors in the shape of the API, and the check of the key."""

import orjson
from aiohttp import web

from teacher.playback_replies import Api, error_of
from teacher.wire_anthropic import MESSAGES_PATH

HEADERS = {"x-stillhouse-recorded": "true"}


class Unfit(Exception):  # noqa: N818 - it is an answer, not an error
    """A request that gets an error response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self, api: Api) -> web.Response:
        return error_response(api, self.status, self.code, self.message)


def check_key(request: web.Request, api_key: str | None) -> None:
    """Where each API wants it: Anthropic's in a header of its own, beside the version it is asked in."""
    if request.path.startswith("/v1" + MESSAGES_PATH):
        if "anthropic-version" not in request.headers:
            raise Unfit(400, "invalid_request", "anthropic-version: header is required")
        known = api_key is None or request.headers.get("x-api-key") == api_key
    else:
        known = api_key is None or request.headers.get("Authorization") == f"Bearer {api_key}"
    if not known:
        raise Unfit(401, "invalid_api_key", "Incorrect API key provided.")


def error_response(api: Api, status: int, code: str, message: str) -> web.Response:
    return json_response(status, error_of(api, status, code, message))


def json_response(status: int, value: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json", headers=HEADERS)
