// Poll and show the state of a device on the control page, and send the member's actions.
(() => {
  const FAST_POLL = 300, SLOW_POLL = 3000, FAST_POLL_AFTER_ACTION = 4000; // milliseconds
  const MIN_SWIPE = 12; // pixels on the page; shorter drags are taps
  const byId = (id) => document.getElementById(id);
  const form = byId("remote-control");
  let state = JSON.parse(byId("remote-control-state").textContent);
  let timer = null, fastPollUntil = 0, pressed = null, lastRequest = 0, lastShown = 0, screenshotDue = false;

  // Responses may arrive out of order. Ignore a response if a later request was answered before.
  async function request(url, options) {
    const number = ++lastRequest;
    const response = await fetch(url, { headers: { "X-Requested-With": "page" }, ...options });
    if (response.redirected) { location.reload(); return null; }
    if (!response.ok && response.status !== 409) throw new Error(response.statusText);
    const data = await response.json();
    if (number > lastShown) { lastShown = number; state = data; show(); }
    return data;
  }

  async function poll() {
    clearTimeout(timer);
    try { await request(form.dataset.state); } catch { /* the next poll tries again */ }
    schedulePoll();
  }

  function schedulePoll() {
    clearTimeout(timer);
    const busy = state.open > 0 || Date.now() < fastPollUntil;
    timer = setTimeout(poll, busy && !document.hidden ? FAST_POLL : SLOW_POLL);
  }

  async function act(fields) {
    const body = new FormData(form);
    for (const [name, value] of Object.entries(fields)) body.set(name, value);
    fastPollUntil = Date.now() + FAST_POLL_AFTER_ACTION;
    let data = null;
    try {
      data = await request(form.dataset.act, { method: "POST", body });
      showError(data && data.error);
    } catch {
      showError("The server did not respond as expected. Try again.");
    }
    schedulePoll();
    return data !== null && !data.error;
  }

  async function send(type, parameters) {
    const isDone = await act({ action: "command", type, parameters: JSON.stringify(parameters) });
    const follow = byId("control-follow");
    if (isDone && follow && follow.checked && type !== "screenshot") screenshotDue = true;
  }

  function showError(message) {
    byId("control-error").textContent = message || "";
    byId("control-error").hidden = !message;
  }

  function show() {
    byId("control-status").textContent = statusText();
    for (const [id, isVisible] of [["control-start", state.reachable && !state.controller], ["control-end", state.may_end]]) {
      if (byId(id)) byId(id).hidden = !isVisible;
    }
    const isFree = state.is_mine || !state.controller;
    for (const button of form.querySelectorAll("[data-send], #control-type, #control-set-volume")) {
      const waits = "waits" in button.dataset, needsNoSession = waits || "free" in button.dataset;
      button.disabled = !(needsNoSession ? isFree && !state.retired && (waits || state.reachable) : state.is_mine);
    }
    byId("screen").classList.toggle("live", state.is_mine && state.screen !== null);
    showScreenshot();
    const history = byId("control-history");
    if (history.dataset.shown !== state.history) {
      history.innerHTML = state.history;
      history.dataset.shown = state.history;
    }
    if (screenshotDue && state.open === 0) {
      screenshotDue = false;
      act({ action: "command", type: "screenshot", parameters: "{}" });
    }
  }

  function statusText() {
    if (state.retired) return "The device is retired.";
    if (state.is_mine) return "You control this device. The session ends after five minutes without use.";
    if (state.controller) return `${state.controller} controls this device.`;
    if (!state.online) return "The device is offline. Reload, restart and reboot commands wait until it is online.";
    return state.reachable ? "No active session." : "The device is in quarantine.";
  }

  function showScreenshot() {
    const image = byId("screen-picture");
    byId("screen-none").hidden = Boolean(state.picture);
    image.hidden = !state.picture;
    if (!state.picture) return;
    if (image.getAttribute("src") !== state.picture.address) {
      image.src = state.picture.address;
      image.width = state.picture.width;
      image.height = state.picture.height;
      byId("screen-mark").hidden = true;
    }
    const seconds = Math.max(0, Math.round((Date.now() - new Date(state.picture.taken_at)) / 1000));
    byId("screen-age").textContent = seconds < 90 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
  }

  // Convert a position on the screenshot to pixels of the device's screen.
  function screenPoint(event) {
    const bounds = byId("screen-picture").getBoundingClientRect();
    const fraction = (value, size) => Math.min(Math.max(value / size, 0), 0.999999);
    const [width, height] = state.screen;
    return {
      x: Math.floor(fraction(event.clientX - bounds.left, bounds.width) * width),
      y: Math.floor(fraction(event.clientY - bounds.top, bounds.height) * height),
    };
  }

  function showMark(event) {
    const bounds = byId("screen").getBoundingClientRect(), dot = byId("screen-mark");
    dot.style.left = `${event.clientX - bounds.left}px`;
    dot.style.top = `${event.clientY - bounds.top}px`;
    dot.hidden = false;
  }

  const image = byId("screen-picture");
  image.addEventListener("pointerdown", (event) => {
    if (!state.is_mine || !state.screen || event.button !== 0) return;
    event.preventDefault();
    image.setPointerCapture(event.pointerId);
    pressed = { point: screenPoint(event), x: event.clientX, y: event.clientY, time: event.timeStamp };
    showMark(event);
  });
  image.addEventListener("pointerup", (event) => {
    if (pressed === null) return;
    const { point, x, y, time } = pressed;
    pressed = null;
    showMark(event);
    const isSwipe = Math.hypot(event.clientX - x, event.clientY - y) >= MIN_SWIPE;
    const duration = Math.min(5000, Math.max(50, Math.round(event.timeStamp - time)));
    if (isSwipe) send("swipe", { from: point, to: screenPoint(event), duration_ms: duration });
    else send("tap", point);
  });
  image.addEventListener("pointercancel", () => { pressed = null; });

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.cancel) act({ action: "cancel", command: button.dataset.cancel });
    if (!button.dataset.send) return;
    if (button.dataset.ask && !confirm(button.dataset.ask)) return;
    send(button.dataset.send, JSON.parse(button.dataset.parameters || "{}"));
  });
  const listen = (id, type, listener) => byId(id) && byId(id).addEventListener(type, listener);
  listen("control-start", "click", () => act({ action: "start" }).then((isDone) => {
    if (isDone && byId("control-follow") && byId("control-follow").checked) {
      act({ action: "command", type: "screenshot", parameters: "{}" });
    }
  }));
  listen("control-end", "click", () => act({ action: "end" }));
  function sendText() {
    const field = byId("control-text");
    if (field.value && !byId("control-type").disabled) {
      send("input", { text: field.value });
      field.value = "";
    }
  }
  listen("control-type", "click", sendText);
  listen("control-text", "keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); sendText(); } });
  listen("control-volume", "input", () => { byId("control-volume-value").textContent = byId("control-volume").value; });
  listen("control-set-volume", "click", () => send("set_volume", { volume: Number(byId("control-volume").value) }));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

  show();
  schedulePoll();
})();
