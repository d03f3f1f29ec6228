"""The root of all errors, how they make their sentences, and the first branching: by blame."""

from __future__ import annotations

from typing import Any, ClassVar


class StatecoreError(Exception):
    """The root of everything statecore raises on purpose.

    Keyword arguments become attributes and fill `template`. An unknown placeholder stays visible rather than raising,
    so that making an error can never fail.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    template: ClassVar[str] = "statecore could not do this"
    advice: ClassVar[str] = "See the error's attributes."

    def __init__(self, detail: str = "", /, **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.data = data

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that are not real attributes; dunder look-ups (copy, pickle) must fail fast.
        data = self.__dict__.get("data", {})
        if name in data:
            return data[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detail, self.data)

    def __str__(self) -> str:
        return self.detail or self.template.format_map(Visible(self.data))


class Visible(dict[str, Any]):
    """Formats a missing placeholder as itself."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def _rebuild(cls: type[StatecoreError], detail: str, data: dict[str, Any]) -> StatecoreError:
    return cls(detail, **data)


class UsageError(StatecoreError):
    """The caller of the library asked for something that cannot be done as asked."""

    code = "usage"
    template = "this call is not possible as made"
    advice = "Change the call you make."


class PeerError(StatecoreError):
    """The other side, or the session itself, said no."""

    code = "peer"
    template = "the other side refused"
    advice = "Tell the user; try again later if that makes sense."


class NetworkError(StatecoreError):
    """A link, a machine or a device failed."""

    code = "network"
    retryable = True
    template = "something between the two sides failed"
    advice = "Try again; look at the link if it happens again."
