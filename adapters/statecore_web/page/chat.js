// What is written in a call: every message from the moment in which it is written, and what has become of it.

import { make, reason } from "./words.js";

export class Chat {
  /** `changed` is called when something came that is not read yet. */
  constructor(page, changed) {
    this.page = page;
    this.changed = changed;
    this.list = make("ol", { class: "list chat", role: "log", "aria-label": "Messages" });
    this.field = make("input", { "aria-label": "Message", placeholder: "Message", maxlength: "2000", autocomplete: "off" });
    this.form = make("form", { onsubmit: (event) => this.send(event) }, this.field);
    this.begin(null);
  }

  begin(session) {
    this.session = session;
    this.unread = 0;
    this.list.replaceChildren();
    this.field.value = "";
  }

  get shown() {
    return this.list.isConnected;
  }

  /** It stands in a panel now. */
  opened() {
    if (this.unread) this.page.notice(""); // it stands here
    this.unread = 0;
    this.list.lastElementChild?.scrollIntoView();
    this.field.focus();
  }

  send(event) {
    event.preventDefault();
    const text = this.field.value.trim();
    this.field.value = ""; // for the next, however long this one takes
    if (text) this.write(text);
  }

  async write(text) {
    const { session } = this;
    const line = this.note("You", text);
    const state = make("small", { class: "sending", "aria-hidden": "true" }, "Sending…");
    line.firstElementChild.append(state);
    try {
      await session.sendMessage(text);
      state.remove();
    } catch (error) {
      state.remove();
      if (!session.over) this.failed(line, text, error);
    }
  }

  /** What is on its way still, and comes once its receiver is back, would come twice if it were sent again. */
  failed(line, text, error) {
    const late = error.is?.("command_timeout");
    const what = late ? "Not everybody had it in time: it still goes to them." : `Not sent: ${reason(error)}`;
    const again = () => {
      line.remove();
      this.field.focus();
      this.write(text);
    };
    const button = !late && error.retryable ? make("button", { class: "quiet", onclick: again }, "Send again") : null;
    line.firstElementChild.append(make("small", { class: late ? "late" : "failed" }, what), ...(button ? [button] : []));
    if (this.shown) line.scrollIntoView({ block: "nearest" });
    else this.page.notice(what);
  }

  /** Somebody else wrote: heard of at once, also by who has the chat not open or does not look. */
  wrote(name, text) {
    this.note(name, text);
    if (this.shown) return; // it is read out as it comes
    this.unread += 1;
    this.page.notice(`${name}: ${text}`);
    this.page.say(`${name}: ${text}`);
    this.changed();
  }

  note(name, text) {
    const line = make("li", {}, make("div", { class: "who" }, make("small", {}, name), make("p", {}, text)));
    this.list.append(line);
    line.scrollIntoView();
    return line;
  }
}
