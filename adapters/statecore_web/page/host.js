// What the media of a session asks of the session, and tells it.

export class Host {
  constructor(session) {
    this.session = session;
    this.settings = session.settings;
    this.ice = session.client.ice;
  }

  get joined() {
    return this.session.leg.joined;
  }

  signal(message) {
    const { client, sessionId } = this.session;
    client.feed({ do: "Signal", session: sessionId, message: { session: sessionId, ...message } });
  }

  report(what, pid = "") {
    this.session.client.feed({ do: "Media", session: this.session.sessionId, what, pid });
  }

  send(pid, kind, body) {
    this.signal({ m: "relay", to: pid, kind, body });
  }

  ask(pid) {
    this.signal({ m: "ask", pid });
  }

  free(pid) {
    this.signal({ m: "free", pid });
  }

  up() {
    this.report("up");
  }

  peerConnected(pid) {
    this.report("peer_connected", pid);
    this.session.listeners.emit("media_changed");
  }

  peerLost(pid) {
    this.report("peer_lost", pid);
    this.session.listeners.emit("media_changed");
  }

  fault(error) {
    if (!this.session.closing) this.session.fault(error);
  }

  lacks(kind, error) {
    if (!this.session.closing) this.session.lacks(kind, error);
  }

  localChanged() {
    this.session.listeners.emit("media_changed");
  }

  remoteChanged(pid) {
    this.session.fillStream(pid);
    this.session.listeners.emit("media_changed");
  }

  shareEnded() {
    if (!this.session.over) this.session.stopScreenShare().catch(() => {});
  }
}
