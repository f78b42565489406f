"""What the pages of Argilla may load: nothing from outside but, where a task has them, the pictures of its items."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def policy(*, pictures: bool) -> str:
    """The Content-Security-Policy. Argilla's pages refer to Google's fonts and to Hugging Face, and do without.

    Its scripts and styles stand partly in the page, and its templates are compiled there.
    """
    images = "'self' data: blob:" + (" https: http:" if pictures else "")
    return "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            f"img-src {images}",
            "font-src 'self' data:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    )


class Secluded:
    """Puts the policy on every reply, and tells no other site where its reader came from."""

    def __init__(self, app: Callable[..., Awaitable[None]], policy: str) -> None:
        self.app = app
        self.headers = [
            (b"content-security-policy", policy.encode("ascii")),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
