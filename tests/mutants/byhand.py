"""The mutants that were written by hand: each a mistake that somebody could make in the call control."""

from __future__ import annotations

from pathlib import Path

from forked import Mutant

FLOW, WORK, CONDITIONS = "flow.py", "switchboard/_work.py", "switchboard/_conditions.py"
BOARD, VIEWS = "switchboard/__init__.py", "switchboard/_views.py"
STEP, FACTS, MOVES = "endpoint/_step.py", "endpoint/_facts.py", "endpoint/_moves.py"
APPLICATION, LINES, OFFERS = "switchboard/_application.py", "switchboard/_lines.py", "switchboard/_offers.py"
ENDPOINT, TELL, DATA = "endpoint/__init__.py", "endpoint/_tell.py", "endpoint/_data.py"

CHANGES: tuple[tuple[str, str, str, str], ...] = (
    # --- the table
    (
        "who rings on other devices is not told that it was answered",
        FLOW,
        'yes = (Fire("answered_elsewhere", "siblings"), Fire("answered", "peers"))',
        'yes = (Fire("answered", "peers"),)',
    ),
    (
        "the caller is not told of the answer",
        FLOW,
        'yes = (Fire("answered_elsewhere", "siblings"), Fire("answered", "peers"))',
        'yes = (Fire("answered_elsewhere", "siblings"),)',
    ),
    (
        "an acceptance leaves the invitation open",
        FLOW,
        'callee("accept", "accepted", Answer("joined"), *yes)',
        'callee("accept", "accepted", *yes)',
    ),
    (
        "a decline leaves the callee's line taken",
        FLOW,
        'quiet = (Answer("declined"), Release(), ',
        'quiet = (Answer("declined"), ',
    ),
    (
        "a missed call leaves the callee's line taken",
        FLOW,
        'missed = (Answer("unanswered"), Release())',
        'missed = (Answer("unanswered"),)',
    ),
    (
        "a decline leaves the caller's line taken",
        FLOW,
        'caller("rejected", "ended", Release(), _DECLINED',
        'caller("rejected", "ended", _DECLINED',
    ),
    (
        "a decline does not stop the other devices",
        FLOW,
        'quiet = (Answer("declined"), Release(), Fire("rejected_elsewhere", "siblings"))',
        'quiet = (Answer("declined"), Release())',
    ),
    (
        "a decline is not told to the caller",
        FLOW,
        'no = (*quiet, Fire("rejected", "peers"), _OVER)',
        "no = (*quiet, _OVER)",
    ),
    (
        "a cancelled call goes on ringing",
        FLOW,
        '*(caller(t, "ended", Release(), Fire("cancelled", "others"), _OVER, **gives_up) for t in _GIVE_UP)',
        '*(caller(t, "ended", Release(), _OVER, **gives_up) for t in _GIVE_UP)',
    ),
    (
        "cancelled is taken for busy",
        FLOW,
        'callee("cancelled", "ended", *missed, _GONE, reason=Reason.CANCELLED)',
        'callee("cancelled", "ended", *missed, _GONE, reason=Reason.BUSY)',
    ),
    (
        "the ring timer of the caller stops nobody else's ringing",
        FLOW,
        'caller("ring_timeout", "ended", Release(), Fire("unanswered", "others"), _DECLINED',
        'caller("ring_timeout", "ended", Release(), _DECLINED',
    ),
    (
        "a lost caller leaves the callee ringing",
        FLOW,
        'caller("lost", "ended", Release(), Fire("peer_lost", "others"), _OVER',
        'caller("lost", "ended", Release(), _OVER',
    ),
    (
        "a device lost while it rings declines for its user",
        FLOW,
        'callee("lost", "ended", Release(), _OVER, reason=Reason.LOST',
        'callee("lost", "ended", Answer("declined"), Release(), Fire("rejected", "peers"), _OVER, reason=Reason.LOST',
    ),
    ("an ended call leaves its media open", FLOW, 'over = (Answer("left"), CloseMedia(), Release())', ""),
    (
        "an ended call leaves its line taken",
        FLOW,
        'over = (Answer("left"), CloseMedia(), Release())',
        'over = (Answer("left"), CloseMedia())',
    ),
    (
        "one side becomes active alone",
        FLOW,
        'Row("accepted", "up", "accepted", (Mark("connected"),), when="joined", unless="ready"),\n',
        'Row("accepted", "up", "active", (Mark("connected"), _JOINED), when="joined", unless="ready"),\n',
    ),
    (
        "the last report of media does not make the others active",
        FLOW,
        'together = (Fire("connect", "others"), _JOINED)',
        "together = (_JOINED,)",
    ),
    (
        "a hang-up does not end the other side",
        FLOW,
        '*(end(s, t, Reason.HANGUP, "hangup", decider="endpoint") for s in live for t in (*_GIVE_UP, *_DECLINE))',
        '*(end(s, t, Reason.HANGUP, decider="endpoint") for s in live for t in (*_GIVE_UP, *_DECLINE))',
    ),
    (
        "media that never connects ends one side only",
        FLOW,
        'end("accepted", "connect_timeout", Reason.FAILED_MEDIA, "peer_failed")',
        'end("accepted", "connect_timeout", Reason.FAILED_MEDIA)',
    ),
    (
        "never connected and lost later are one reason",
        FLOW,
        'end("active", "failed", Reason.LOST, "peer_lost")',
        'end("active", "failed", Reason.FAILED_MEDIA, "peer_lost")',
    ),
    (
        "a join needs no token",
        FLOW,
        'when="authorized", unless=("joined", "full"))',
        'unless=("joined", "full"))',
    ),
    (
        "an agreement to video opens a third person's camera",
        FLOW,
        'act("video_agreed", *agreed, when="wants_video")',
        'act("video_agreed", *agreed)',
    ),
    (
        "a request for video stands for ever",
        FLOW,
        'act("consent_timeout", Mark("wants_video", False))',
        'act("consent_timeout")',
    ),
    (
        "a request for video that was taken back leaves the camera on",
        FLOW,
        'act("withdraw_video", Mark("camera", False), when="camera", unless="wants_video")',
        'act("withdraw_video", when="camera", unless="wants_video")',
    ),
    (
        "muting needs no word to be undone",
        FLOW,
        'act("mute_audio", Mark("audio_muted"))',
        'act("mute_audio")',
    ),
    (
        "a busy call rings",
        FLOW,
        'free = ("to_self", "engaged", "glare", "busy")',
        'free = ("to_self", "engaged", "glare")',
    ),
    (
        "a recall leaves the old call",
        FLOW,
        'initiate("ringing", (Fire("lost", "stale"), *rings), when=("known", "stale")',
        'initiate("ringing", rings, when=("known", "stale")',
    ),
    # --- what the conditions mean
    (
        "ready asks for one of the others only",
        CONDITIONS,
        'bool(others) and all("connected"',
        'bool(others) and any("connected"',
    ),
    ("ready alone", CONDITIONS, 'return bool(others) and all("connected"', 'return all("connected"'),
    (
        "a capacity is one too large",
        CONDITIONS,
        "for session in line.holds if session not in replaced) >= capacity",
        "for session in line.holds if session not in replaced) > capacity",
    ),
    (
        "the caller's own line does not count",
        CONDITIONS,
        "return _full_line(work, draft, leg.user, leg.user)",
        "return False",
    ),
    (
        "a full session takes one more",
        CONDITIONS,
        "return inside >= work.board.settings.session_capacity",
        "return inside > work.board.settings.session_capacity",
    ),
    (
        "a token is not held against the session",
        CONDITIONS,
        "check(act.claims, session=draft.session_id, user",
        "check(act.claims, session=act.claims.session, user",
    ),
    (
        "a token is not held against the user",
        CONDITIONS,
        "user=leg.user, device=leg.device, now",
        "user=act.claims.user, device=leg.device, now",
    ),
    (
        "grants are not asked for",
        CONDITIONS,
        "return act is None or draft.machine.grants(act.command.trigger, leg.grants)",
        "return True",
    ),
    # --- the switchboard
    (
        "a call is busy for ever once it was called",
        LINES,
        "return replace(line, holds=_without(line.holds, session)) if session in line.holds else line",
        "return line",
    ),
    (
        "a line is let go while the user is still in the call",
        WORK,
        "if not draft.concerns(user):\n            self.on_line(let_go",
        "if True:\n            self.on_line(let_go",
    ),
    (
        "a device that is away is rung",
        WORK,
        "for device in (line.ringing if line is not None else ())",
        "for device in (line.devices if line is not None else ())",
    ),
    (
        "who comes late is rung for as long again",
        WORK,
        'return int(draft.get("ring_until"))',
        'return self.now + self.board.milliseconds["ring"]',
    ),
    (
        "a timer goes on after its state",
        WORK,
        "if armed is not machine.deadline(old.state, old.flags):",
        "if armed is not None:",
    ),
    (
        "both call each other, and only one asked for video: it is a video call",
        WORK,
        'if draft.type != other.type and other.type == "video":',
        "if False:",
    ),
    (
        "the merged call does not say whose yes it uses",
        WORK,
        "other.legs[there] = replace(other.legs[there], via=draft.session_id)",
        "pass",
    ),
    (
        "the duration runs from the answer of the last",
        WORK,
        'if state in draft.machine.answered and not draft.get("answered_at"):',
        "if state in draft.machine.answered:",
    ),
    (
        "a leg's numbers begin anew when it comes back",
        WORK,
        "leg = replace(leg, seq=draft.legs[before].seq, heard=draft.legs[before].heard)",
        "pass",
    ),
    (
        "a repeated command is taken twice",
        BOARD,
        "if draft is not None and place is not None and act.command.n <= draft.legs[place].heard:",
        "if draft is not None and place is not None and act.command.n < draft.legs[place].heard:",
    ),
    (
        "a refusal changes what it refused to change",
        BOARD,
        "        work.drafts.clear()\n        work.lines = dict(work.old_lines)\n",
        "",
    ),
    (
        "an older connection takes a newer one's place",
        BOARD,
        "if before is not None and before.epoch == hello.epoch and hello.conn < before.conn:",
        "if False:",
    ),
    (
        "word of an older connection's end counts",
        BOARD,
        "if (device.device, device.epoch, device.conn) == (command.device, command.epoch, command.conn):",
        "if (device.device, device.epoch) == (command.device, command.epoch):",
    ),
    (
        "a restarted device keeps its old legs",
        BOARD,
        "leg.device == hello.device and leg.epoch != hello.epoch and draft.is_live(leg):",
        "leg.device == hello.device and leg.epoch != hello.epoch and False:",
    ),
    (
        "who connects late does not ring",
        BOARD,
        "if invited and ring and room and (",
        "if invited and ring and not room and (",
    ),
    (
        "a device is not told what it missed",
        BOARD,
        "if place not in draft.moved and draft.legs[place].seq != seen:",
        "if place not in draft.moved and draft.legs[place].seq < seen:",
    ),
    (
        "a timer fires before its time",
        BOARD,
        "if due is not None and draft.is_live(leg) and 0 < leg.deadline <= work.now:",
        "if due is not None and draft.is_live(leg) and 0 < leg.deadline:",
    ),
    (
        "a lease never runs out",
        BOARD,
        "if device.lease <= work.now:",
        "if device.lease < 0:",
    ),
    (
        "a stranger may act in a call",
        BOARD,
        "raise NotAParty(user=act.user, session_id=command.session)",
        "return draft, 0",
    ),
    (
        "anybody may send an offer",
        OFFERS,
        'if turn is None or turn.holder != (me if relay.kind == "offer" else other).pid:',
        "if turn is None:",
    ),
    (
        "an offer token stays with who is gone",
        BOARD,
        "if offer.holder and offer.until <= work.now:",
        "if offer.holder and offer.until <= 0:",
    ),
    (
        "views are not numbered",
        VIEWS,
        "draft.legs[place] = replace(leg, seq=leg.seq + 1)",
        "draft.legs[place] = replace(leg, seq=leg.seq)",
    ),
    (
        "the log's row has no reason",
        VIEWS,
        "reason=last.control.reason)",
        'reason="")',
    ),
    # --- the endpoint
    (
        "an end is not owed",
        STEP,
        "media=last.media, owed=owed, consent=NO_FLAGS",
        "media=last.media, owed=leg.owed, consent=NO_FLAGS",
    ),
    (
        "an end waits for the switchboard",
        STEP,
        "leg, state=last.state, reason=last.reason, media=last.media, owed=owed",
        "leg, owed=owed",
    ),
    (
        "media opens without the user's asking",
        MOVES,
        'opens = joined and media == "wanted" and to != final',
        'opens = joined and media != "open" and to != final',
    ),
    (
        "an older fact counts",
        FACTS,
        "if view.seq < leg.seq or view.heard < leg.first or leg.state == machine.final:",
        "if view.heard < leg.first or leg.state == machine.final:",
    ),
    (
        "a ring that the own call accepts is shown",
        FACTS,
        "if _crosses(step, view):",
        "if False:",
    ),
    (
        "the successor of a lost ring that the own call accepts is shown",
        FACTS,
        "        if _crosses(step, view):",
        "        if leg is None and _crosses(step, view):",
    ),
    (
        "a ring that was held is not shown when the own call came to nothing",
        ENDPOINT,
        'if step.get("held"):',
        "if False:",
    ),
    (
        "a ring after the end rings",
        FACTS,
        "    return last is not None and view.seq <= last",
        "    return False",
    ),
    (
        "what has failed comes true later",
        STEP,
        "owed=tuple(command for command in leg.owed if command.n not in failed))",
        "owed=leg.owed)",
    ),
    (
        "an end that is repeated is said twice",
        STEP,
        "        if self.is_over(leg):\n            self._after_end(leg, trigger)\n            return None",
        "",
    ),
    (
        "a yes that was taken back counts",
        STEP,
        "consent = (consent | agreed) - may.revoked",
        "consent = consent | agreed",
    ),
    (
        "the tombstones grow without bound",
        STEP,
        "if len(self.tombs) >= TOMBS:",
        "if len(self.tombs) >= 2**60:",
    ),
    (
        "waiting for the answer does not settle at the end",
        FACTS,
        "        step.over(leg)\n        step.bury(session, view.seq)",
        "        step.bury(session, view.seq)",
    ),
    (
        "what is owed is not said again",
        ENDPOINT,
        "step.effects += [Send(command) for command in sorted(owed, key=lambda command: command.n)]",
        "",
    ),
    (
        "a silent link is believed in",
        ENDPOINT,
        'if step.online and now - step.confirmed >= step.get("lease"):',
        "if False:",
    ),
    (
        "patience never ends",
        ENDPOINT,
        '            if now - step.confirmed >= step.get("lease"):\n                step.end_by',
        "            if False:\n                step.end_by",
    ),
    (
        "media is reported up twice",
        ENDPOINT,
        'if given.what == "up" and not leg.reported:',
        'if given.what == "up":',
    ),
    (
        "everybody is told of what the flow calls connected",
        TELL,
        '_CORE_FLAGS = frozenset({"joined", "connected"})',
        "_CORE_FLAGS = frozenset()",
    ),
    (
        "a capture that was not agreed to opens",
        TELL,
        "and (capture.kind in consent or not capture.at_join)",
        "",
    ),
    (
        "a data message is told twice",
        DATA,
        "if parcel.n == lane.got + 1:",
        "if parcel.n >= lane.got:",
    ),
    (
        "a lost data message is not asked for",
        DATA,
        'elif parcel.n > lane.got and lane.asks == "no":',
        "elif False:",
    ),
    (
        "messages are sent faster than the service takes them",
        DATA,
        "    if at > now + BURST:",
        "    if False:",
    ),
    (
        "all messages are sent again at once",
        DATA,
        "lane.mails[:WINDOW]",
        "lane.mails",
    ),
    # --- what the application asks
    (
        "a user is deleted, and the user's calls go on",
        APPLICATION,
        "        for draft in work.listed(command.user):",
        "        for draft in work.listed(command.user)[:0]:",
    ),
    (
        "whoever is deleted ends a session for all",
        APPLICATION,
        "range(len(draft.legs)) if draft.session_id in line.holds else mine",
        "range(len(draft.legs))",
    ),
    (
        "the application cannot end a session that is empty",
        APPLICATION,
        '        if draft.get("empty_until"):',
        '        if not draft.get("empty_until"):',
    ),
    (
        "a call that is taken back goes on ringing",
        FLOW,
        'caller("dismissed", "ended", Release(), Fire("cancelled", "others"), _OVER',
        'caller("dismissed", "ended", Release(), _OVER',
    ),
)
"""Name, module, what stands there once, and what the mistake is."""

_TWO = "a call of two has, once it is accepted, exactly one other live leg"
EQUIVALENT = {
    "ready asks for one of the others only": _TWO,
    "ready alone": _TWO,
}
"""Those that behave no differently, and why."""


def mutants(package: Path) -> list[Mutant]:
    """Each, made; a text that does not stand there exactly once is a mistake of this list."""
    made = []
    for name, path, old, new in CHANGES:
        before = (package / path).read_text()
        if before.count(old) != 1:
            raise SystemExit(
                f"{path}: {old!r} stands there {before.count(old)} times, for {name!r}: bring it up to date"
            )
        made.append(Mutant(name, path, before.replace(old, new), EQUIVALENT.get(name, "")))
    return made
