// What a session captures and sends, whatever becomes of its link and its devices: each function is one test.

import assert from "node:assert/strict";

import { devices, fate, joined, pass, report, screen, settle, TIMERS } from "./fakes.mjs";

const [microphone, camera] = [() => devices.opened.find((one) => one.kind === "audio"), () => devices.opened.at(-1)];

async function a_mute_takes_effect_at_once_and_is_said_until_the_service_has_it() {
  const { client, service, session } = await joined();
  service.cut();
  const mute = fate(session.muteAudio());
  assert.equal(microphone().sends, false);
  assert.deepEqual([session.isOn("audio"), session.isPending("audio")], [false, true]);
  for (let turn = 0; turn < 3; turn++) await pass(client, TIMERS.command);
  assert.deepEqual([mute.now, session.isPending("audio"), microphone().sends], ["", true, false]);
  service.mend();
  await settle();
  assert.deepEqual([mute.now, session.isPending("audio"), microphone().sends], ["done", false, false]);
  assert.deepEqual(service.took, ["join", "up", "mute_audio"]);
  assert.deepEqual(session.flags.includes("audio_muted"), true);
}

async function an_unmute_lets_through_at_once_only_what_the_service_never_heard_to_be_muted() {
  const { client, service, session } = await joined();
  service.cut();
  const mute = fate(session.muteAudio());
  const unmute = fate(session.toggleAudio());
  assert.deepEqual([microphone().sends, session.isOn("audio")], [true, true]);
  await pass(client, TIMERS.command);
  assert.deepEqual([mute.now, unmute.now, microphone().sends], ["command_timeout", "command_timeout", true]);
  service.mend();
  await session.muteAudio();
  service.cut();
  const again = fate(session.unmuteAudio());
  assert.deepEqual([microphone().sends, session.isOn("audio")], [false, true]);
  await pass(client, TIMERS.command);
  assert.deepEqual([again.now, microphone().sends, session.isOn("audio")], ["command_timeout", false, false]);
  service.mend();
  await session.unmuteAudio();
  assert.equal(microphone().sends, true);
}

async function a_toggle_goes_by_what_is_under_way() {
  const { service, session } = await joined();
  service.cut();
  for (const on of [false, true, false]) {
    session.toggleAudio().catch(() => {});
    session.toggleVideo().catch(() => {});
    assert.deepEqual([session.isOn("audio"), session.isOn("video")], [on, on]);
  }
  service.mend();
  await settle();
  assert.deepEqual(session.flags, ["audio_muted", "camera", "joined", "video_paused"]);
  assert.equal(devices.opened.some((one) => one.sends), false);
}

async function a_mute_that_is_refused_leaves_what_is_confirmed() {
  const { service, session, faults } = await joined();
  service.refuses.add("mute_audio").add("pause_video");
  assert.equal(await session.muteAudio().catch((error) => error.code), "rate_limited");
  assert.deepEqual([microphone().sends, session.isOn("audio")], [true, true]);
  assert.equal(await session.pauseVideo().catch((error) => error.code), "rate_limited");
  await settle();
  assert.deepEqual([camera().sends, session.isOn("video")], [true, true]);
  microphone().end();
  await settle();
  assert.deepEqual([faults, session.localTrack("audio"), devices.opened.length], [["audio: ended"], null, 3]); // once
}

async function a_camera_and_a_screen_are_closed_at_once_too() {
  const { service, session } = await joined();
  const shown = screen();
  await session.startScreenShare(shown);
  service.cut();
  session.pauseVideo();
  session.stopScreenShare();
  assert.deepEqual([camera().readyState, shown.getTracks()[0].readyState], ["ended", "ended"]);
  session.resumeVideo().catch(() => {});
  await settle();
  assert.deepEqual([devices.opened.length, camera().sends], [3, true]);
  service.mend();
  await settle();
  assert.deepEqual(session.flags, ["camera", "joined"]);
}

async function a_microphone_does_not_wait_for_a_camera_that_is_being_opened() {
  const { session } = await joined({ settings: { startVideoPaused: true, startAudioMuted: true } });
  let allow;
  devices.asked = { video: new Promise((done) => (allow = done)) };
  await session.resumeVideo();
  await session.unmuteAudio();
  await settle();
  assert.equal(microphone().sends, true);
  await session.muteAudio();
  assert.equal(microphone().sends, false);
  await session.pauseVideo();
  allow();
  await settle();
  assert.deepEqual(devices.opened.map((one) => one.readyState), ["live", "ended"]);
  assert.equal(session.localTrack("video"), null);
}

async function a_device_that_cannot_be_opened_leaves_the_one_before() {
  const { service, session, faults } = await joined();
  devices.broken.add("usb");
  for (const kind of ["audio", "video"]) {
    assert.equal(await session.chooseDevice(kind, "usb").catch((error) => error.code), "media_device");
    assert.equal(session.localTrack(kind).sends, true);
    assert.equal(session.device(kind), { audio: "any", video: "user" }[kind]);
  }
  devices.broken.add("environment");
  assert.equal(await session.switchCamera().catch((error) => error.code), "media_device");
  assert.deepEqual([camera().device, camera().sends], ["user", true]);
  devices.broken.delete("environment");
  await Promise.all([session.switchCamera(), session.switchCamera(), session.switchCamera()]);
  assert.deepEqual([camera().device, faults], ["environment", []]);
  devices.broken.add("environment");
  await session.chooseDevice("video", "usb").catch(() => {});
  await settle();
  assert.equal(session.device("video"), null);
  assert.deepEqual([session.localTrack("video"), session.isOn("video")], [null, false]);
  assert.deepEqual(faults, ["video: NotReadableError"]);
  assert.deepEqual(service.took.slice(2), ["pause_video"]);
  devices.broken.delete("environment");
  await session.resumeVideo();
  await settle();
  assert.equal(session.localTrack("video").sends, true);
}

async function a_device_that_goes_is_told_and_the_next_is_opened_when_it_is_wanted() {
  const { service, session, faults } = await joined({ settings: { audioInput: "usb" } });
  devices.broken.add("usb");
  microphone().end();
  assert.equal(session.isOn("audio"), false);
  await settle();
  assert.deepEqual([faults, service.took.at(-1), session.localTrack("audio")], [["audio: ended"], "mute_audio", null]);
  service.cut();
  camera().end();
  session.resumeVideo();
  service.mend();
  await settle();
  await session.unmuteAudio();
  await settle();
  assert.deepEqual([session.localTrack("audio").device, session.localTrack("video").sends], ["any", true]);
  assert.deepEqual(session.flags, ["camera", "joined"]);
  session.leave();
  camera().end();
  await settle();
  assert.equal(faults.length, 2);
}

async function a_screen_is_asked_for_once_at_a_time_and_only_where_it_may_be_sent() {
  const { session } = await joined();
  await Promise.all([session.startScreenShare(), session.startScreenShare()]);
  assert.deepEqual([devices.picked, session.localTrack("screen").sends], [1, true]);
  const ended = screen();
  ended.getTracks()[0].end();
  await session.startScreenShare(ended);
  await settle();
  assert.deepEqual([session.localTrack("screen"), session.isOn("screen")], [null, false]);
  const quiet = await joined({ settings: { audioOnly: true } });
  const shown = screen();
  assert.equal(await quiet.session.startScreenShare(shown).catch((error) => error.code), "invalid_argument");
  assert.equal(await quiet.session.resumeVideo().catch((error) => error.code), "invalid_argument");
  assert.deepEqual([shown.getTracks()[0].readyState, quiet.service.took], ["ended", ["join", "up"]]);
}

await report({
  a_mute_takes_effect_at_once_and_is_said_until_the_service_has_it,
  an_unmute_lets_through_at_once_only_what_the_service_never_heard_to_be_muted,
  a_toggle_goes_by_what_is_under_way,
  a_mute_that_is_refused_leaves_what_is_confirmed,
  a_camera_and_a_screen_are_closed_at_once_too,
  a_microphone_does_not_wait_for_a_camera_that_is_being_opened,
  a_device_that_cannot_be_opened_leaves_the_one_before,
  a_device_that_goes_is_told_and_the_next_is_opened_when_it_is_wanted,
  a_screen_is_asked_for_once_at_a_time_and_only_where_it_may_be_sent,
});
