/** The types of statecore.js. Events and errors have the names of the Python side; see its reference. */

export type CallType = "audio" | "video";
export type Layout = "tile" | "sidebar" | "spotlight";
export type MediaKind = "audio" | "video" | "screen";
export type Button =
  | "call_end" | "mute" | "pause" | "share" | "mode" | "switch_to_video" | "raise_hand" | "participants" | "recording"
  | "invite" | "chat" | "network";
export type Unsubscribe = () => boolean;

/** Every error. `code` is stable, `retryable` says whether the same thing may succeed later. */
export class CallError extends Error {
  /** `code` is one of the Python side's; the message is made of it, and of `why` in its data. */
  constructor(code: string, data?: Record<string, unknown>);
  code: string;
  data: Record<string, unknown>;
  retryable: boolean;
  /** The ended call, where a call was declined or has ended. */
  call?: Call;
  /** Whether it is of this kind or of one below it. */
  is(code: string): boolean;
}

export interface EndReason {
  what: string;
  by: string | null;
  /** The device on which that user acted. */
  device: string | null;
  /** Unix seconds, by the service's clock. */
  when: number | null;
}

export interface Participant {
  pid: string;
  uid: string;
  name: string;
  /** The address of a picture, or empty. */
  avatar: string;
  device: string;
  role: "caller" | "callee" | "member";
  joined: number;
  joinedAt: number | null;
  flags: string[];
  audioMuted: boolean;
  videoOn: boolean;
  presenting: boolean;
  handRaised: boolean;
}

/** A snapshot. Times are Unix seconds, by the service's clock. */
export interface Call {
  sessionId: string;
  flow: string;
  type: CallType;
  state: string;
  role: "caller" | "callee" | "member";
  status: "initiated" | "ongoing" | "rejected" | "busy" | "cancelled" | "unanswered" | "ended";
  initiator: string;
  receiver: string;
  /** The other user of a call of two. */
  with: string;
  endReason: EndReason | null;
  initiatedAt: number | null;
  /** When a device of the receiver began to ring. */
  ringingAt: number | null;
  answeredAt: number | null;
  activeAt: number | null;
  endedAt: number | null;
  metadata: unknown;
  participants: Participant[];
}

export interface InitiateOptions {
  type?: CallType;
  /** What is rung. A group cannot be in this version. */
  receiverType?: "user";
  /** Seconds to ring, at most 3600; null, 0 or less are the service's. */
  timeout?: number | null;
  metadata?: Record<string, unknown> | null;
  sessionId?: string | null;
  /** One of the client's flows that rings. */
  flow?: string;
}

export interface CallListener {
  onIncomingCallReceived?(call: Call): void;
  onOutgoingCallAccepted?(call: Call): void;
  onOutgoingCallRejected?(call: Call): void;
  onIncomingCallCancelled?(call: Call): void;
  onCallEndedMessageReceived?(call: Call): void;
}

/** Checked when a session starts, and frozen then: a wrong one rejects with `invalid_settings`. */
export interface CallSettings {
  type?: CallType;
  layout?: Layout;
  /** What a page shows as the title of the session. */
  title?: string | null;
  audioOnly?: boolean;
  startAudioMuted?: boolean;
  startVideoPaused?: boolean;
  /** Device ids, as `enumerateDevices` gives them. */
  audioInput?: string | null;
  videoInput?: string | null;
  /** Which camera of a phone. */
  cameraFacing?: "front" | "rear";
  /** Seconds alone until the prompt, and from it to the end; 0 or null disables. */
  idleTimeout?: number | null;
  idlePrompt?: number;
  /** Seconds; 0 or null is for ever. */
  maxDuration?: number | null;
  /** A session of two, shown as such. */
  peerCall?: boolean;
  /** Which buttons a page shows: these, unless it is told not to, */
  showEndButton?: boolean;
  showMuteButton?: boolean;
  showPauseButton?: boolean;
  showShareButton?: boolean;
  showModeButton?: boolean;
  showSwitchToVideoButton?: boolean;
  showRaiseHandButton?: boolean;
  showParticipantsButton?: boolean;
  /** and these if it is told to. */
  showRecordingButton?: boolean;
  showInviteButton?: boolean;
  showChatButton?: boolean;
  showNetworkButton?: boolean;
  /** Hears everything from the beginning, also that a microphone or camera could not be opened. */
  listener?: Record<string, (...args: any[]) => void>;
}

export interface StreamStats {
  pid: string;
  kind: MediaKind;
  direction: "in" | "out";
  packets: number;
  bytes: number;
  frames: number | null;
  energy: number | null;
  lost: number | null;
  jitter: number | null;
  round_trip: number | null;
}

/** Without `iceServers`, those that the service hands out are used. */
export class BrowserMedia {
  constructor(options?: { iceServers?: RTCIceServer[]; icePolicy?: RTCIceTransportPolicy });
}

export interface ClientOptions {
  user: string;
  /** An auth token, or what gives one: asked for every connection, and once more if the service refuses what it gave. */
  token: string | (() => string | Promise<string>);
  /** Whether it is a call token instead, shown without a login: it admits to its session, and to nothing else. */
  guest?: boolean;
  device?: string;
  name?: string;
  media?: BrowserMedia;
  /** Seconds without a link after which it is given up; 0, the default, is never. */
  giveUpAfter?: number;
  /** The flows that calls may run, by name, and their hashes: those of the service. */
  flows?: Record<string, unknown>;
  hashes?: Record<string, string>;
}

/**
 * One device of one user. Connects again by itself until it is closed; media goes on meanwhile.
 *
 * Of the link tell `connection_lost`, `connection_restored`, `connection_closed` and `connection_failed`, here and on every
 * session, each with a reason (the code of an error) and whether the link may come back by itself.
 */
export class CallClient {
  constructor(url: string, options: ClientOptions);
  /** The picture's address is empty until the device is connected. */
  readonly user: { uid: string; name: string; avatar: string };
  readonly device: string;
  /** What others are shown; the user's id if it is empty. */
  readonly name: string;
  readonly connected: boolean;
  /** Whether `close` was called. */
  readonly closed: boolean;
  /** The time by the service's clock, in Unix seconds: once a call was told of, else by this device's. */
  readonly serviceTime: number;
  readonly calls: Call[];
  readonly activeCall: Call | null;
  /** Whether a call rings here for its user to answer. */
  ringsHere(call: Call): boolean;
  /** Again after `connection_failed`. */
  connect(): Promise<void>;
  reconnect(): void;
  close(): void;
  on(event: string, handler: (...args: any[]) => void): Unsubscribe;
  addCallListener(id: string, listener: CallListener): Unsubscribe;
  removeCallListener(id: string): boolean;
  /** Resolves when it rings. What is wrong with an argument rejects before anything is sent, by Python's errors. */
  initiateCall(receiver: string, options?: InitiateOptions): Promise<Call>;
  answered(sessionId: string): Promise<Call>;
  acceptCall(sessionId: string): Promise<Call>;
  rejectCall(sessionId: string, reason?: "rejected" | "busy"): Promise<void>;
  cancelCall(sessionId: string): Promise<void>;
  endCall(sessionId: string): Promise<void>;
  clearActiveCall(): Promise<void>;
  generateToken(sessionId: string): Promise<string>;
  /** By the id of an accepted call, or by a call token. Resolves when active. */
  startSession(what: string, settings?: CallSettings): Promise<Session>;
}

/**
 * Be in a session by a call token alone: nobody need be logged in. The client goes with the session. A `device` that stays
 * the same is let in again after a reload, as the token is bound to the first that showed it.
 */
export function joinSession(
  url: string,
  token: string,
  settings?: CallSettings,
  more?: Partial<Omit<ClientOptions, "token" | "guest">>,
): Promise<Session>;

/** One device's part in a call, as a client starts it. Every action rejects with a typed error where it is not legal. */
export interface Session {
  readonly sessionId: string;
  /** What it was started with, and the defaults of the rest. Frozen. */
  readonly settings: Readonly<CallSettings>;
  readonly call: Call;
  readonly state: string;
  readonly over: boolean;
  /** For how many seconds it has been active, whatever this device's own clock shows; 0 before. */
  readonly duration: number;
  readonly participants: Participant[];
  readonly flags: string[];
  readonly grants: string[];
  readonly layout: Layout;
  readonly ended: Promise<EndReason>;
  /** Events by their Python names without `on_`; besides, `media_changed` when a track came or went, or `isOn` changed. */
  on(event: string, handler: (...args: any[]) => void): Unsubscribe;
  addCallEventListener(id: string, listener: Record<string, (...args: any[]) => void>): Unsubscribe;
  removeCallEventListener(id: string): boolean;
  leave(): Promise<void>;
  end(): Promise<void>;
  endForAll(): Promise<void>;
  /**
   * Whether a kind is on as the user has it: by the newest of the actions under way, else by what the service has
   * confirmed. The toggles go by it.
   */
  isOn(kind: MediaKind): boolean;
  /** Whether the service has yet to confirm what `isOn` says. */
  isPending(kind: MediaKind): boolean;
  /**
   * Nothing is sent from this moment, whether or not the service can be reached. It is said until the service has it, and
   * rejects with `command_timeout` only if unmuting took its place; pausing, and no longer sharing a screen, likewise.
   */
  muteAudio(): Promise<void>;
  /**
   * Sound goes out once the service has confirmed it; at once if it never heard of the muting. Rejects with
   * `command_timeout` if it did not in time; resuming and sharing likewise.
   */
  unmuteAudio(): Promise<void>;
  toggleAudio(): Promise<void>;
  pauseVideo(): Promise<void>;
  resumeVideo(): Promise<void>;
  toggleVideo(): Promise<void>;
  switchCamera(): Promise<void>;
  /** To be called from a click, unless a stream is given. */
  startScreenShare(stream?: MediaStream | null): Promise<void>;
  stopScreenShare(): Promise<void>;
  raiseHand(): Promise<void>;
  lowerHand(): Promise<void>;
  /** Resolves when somebody agreed; rejects with `consent_declined` if they decline or do not answer in time, and also
   * if it was withdrawn. */
  switchToVideo(): Promise<void>;
  acceptVideo(): Promise<void>;
  declineVideo(): Promise<void>;
  withdrawVideo(): Promise<void>;
  /** To a participant, by user id or pid, or to everyone; resolves when all of them have it. */
  sendMessage(data: unknown, to?: string | null): Promise<void>;
  trigger(name: string, data?: Record<string, unknown>): Promise<void>;
  setLayout(layout: Layout): void;
  /** Tell `<button>_button_pressed`; it does nothing by itself. */
  press(button: Button): void;
  track(pid: string, kind?: MediaKind): MediaStreamTrack | null;
  /** What is heard and seen of a participant: stays, and changes with what arrives. */
  stream(pid: string): MediaStream;
  localTrack(kind?: MediaKind): MediaStreamTrack | null;
  /** Capture from another device; null is the system's choice. If it cannot be opened, it is the one before again, and this
   * rejects with `media_device`. */
  chooseDevice(kind: "audio" | "video", deviceId: string | null): Promise<void>;
  /** The device that a kind is captured from, or would be; null where the system chooses. */
  device(kind: "audio" | "video"): string | null;
  stats(): Promise<StreamStats[]>;
}

/**
 * One device's side of every call it has a part in, without clock and socket: state and input in, state and effects out.
 * `CallClient` runs one.
 */
export class EndpointMachine {
  constructor(flows: Record<string, unknown>, timers: Record<string, number>);
  /** A device that knows nothing yet; `epoch` is new at each start of the process. */
  start(user: string, device: string, epoch: string): object;
  /** `now` is the device's monotonic clock in milliseconds. */
  step(endpoint: object, given: { do: string }, now: number): { endpoint: object; effects: { do: string }[] };
  /** When to tick next; 0 for never. */
  nextDue(endpoint: object): number;
}

export const FLOWS: Record<string, unknown>;
export const HASHES: Record<string, string>;
export const TIMERS: Record<string, number>;
