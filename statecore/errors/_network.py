"""The network's, a machine's or a device's: often worth another try."""

from __future__ import annotations

from ._base import NetworkError


class SignalingError(NetworkError):
    """The link to the call service failed or refused."""

    code = "signaling"
    template = "the link to the call service failed"


class SignalingLost(SignalingError, ConnectionError):
    """The link broke."""

    code = "signaling_lost"
    template = "the link to the call service was lost"


class SignalingRefused(SignalingError, ConnectionError):
    """The service would not take the connection."""

    code = "signaling_refused"
    template = "the call service refused the connection: {why}"


class UnsupportedVersion(SignalingError):
    """The peer speaks a version of the protocol, or holds a flow, that this side does not."""

    code = "unsupported_version"
    retryable = False
    template = "the peer speaks {theirs!r}, this side {ours!r}"
    advice = "Run versions of statecore and flows that fit together on both sides."


class MalformedMessage(SignalingError, ValueError):
    """A message is not one of the protocol's: refused, nothing changed."""

    code = "malformed_message"
    retryable = False
    template = "malformed message: {why}"
    advice = "The sender is at fault; see the protocol's reference."


class RateLimited(SignalingError):
    """Too much at once."""

    code = "rate_limited"
    template = "too many {what} at once"
    advice = "Wait {seconds} s, then go on."


class TooManyDevices(SignalingError):
    """As many devices of this user are connected as may be, or were until a moment ago. That is not for good: a device
    tries again after `seconds`, when there may be room."""

    code = "too_many_devices"
    template = "{limit} devices of user {user!r} are connected already"
    advice = "Disconnect another device, or wait {seconds} s: one that is gone gives way when its lease is over."


class CommandTimeout(SignalingError, TimeoutError):
    """The service did not confirm a command within its bound."""

    code = "command_timeout"
    template = "the call service did not confirm {trigger!r} in time"


class MediaError(NetworkError):
    """Media could not be opened, connected or kept."""

    code = "media"
    template = "media failed: {why}"


class MediaDeviceError(MediaError):
    """A microphone, camera, screen or file could not be opened or broke."""

    code = "media_device"
    template = "media device: {why}"
    advice = "Check that the device exists and is not in use."


class NegotiationFailed(MediaError):
    """The two sides could not agree on how to exchange media."""

    code = "negotiation_failed"
    template = "media negotiation failed: {why}"


class MediaConnectionFailed(MediaError):
    """Media could not reach the other side, or was lost for too long."""

    code = "media_connection_failed"
    template = "media could not reach the other side: {why}"
    advice = "Check the STUN and TURN settings and the network."


class MediaTimeout(MediaError, TimeoutError):
    """A media step did not finish within its bound."""

    code = "media_timeout"
    template = "media step {step!r} took too long"


class NoticeRefused(NetworkError, ValueError):
    """A notice was not taken: it is not genuine, or too old; or its receiver does not want it, or does not answer."""

    code = "notice_refused"
    retryable = False
    template = "the notice was not taken: {why}"
    advice = "Compare the secrets and clocks of both sides, and look into the receiver's log."


class StoreConflict(NetworkError):
    """The store kept refusing a commit; another node is working on the same call."""

    code = "store_conflict"
    template = "the store refused the commit {attempts} times"


class StoreUnusable(NetworkError):
    """The store cannot be used as it is; nothing was changed."""

    code = "store_unusable"
    template = "{store} cannot be used: {why}"
