// One device in a person's hands: the page shows how it stands, and says what is wanted.
(() => {
  const SOON = 300, NOW_AND_THEN = 3000, LIVELY = 4000; // milliseconds
  const SMALLEST_SWIPE = 12; // pixels on the page
  const one = (id) => document.getElementById(id);
  const form = one("remote-control");
  let state = JSON.parse(one("remote-control-state").textContent);
  let timer = null, lively = 0, pressed = null, asked = 0, shown = 0, follows = false;

  // What comes late does not undo what came after it.
  async function ask(address, options) {
    const number = ++asked;
    const answer = await fetch(address, { headers: { "X-Requested-With": "page" }, ...options });
    if (answer.redirected) { location.reload(); return null; }
    if (!answer.ok && answer.status !== 409) throw new Error(answer.statusText);
    const told = await answer.json();
    if (number > shown) { shown = number; state = told; show(); }
    return told;
  }

  async function look() {
    clearTimeout(timer);
    try { await ask(form.dataset.state); } catch { /* the next time */ }
    next();
  }

  function next() {
    clearTimeout(timer);
    const busy = state.open > 0 || Date.now() < lively;
    timer = setTimeout(look, busy && !document.hidden ? SOON : NOW_AND_THEN);
  }

  async function act(said) {
    const body = new FormData(form);
    for (const [name, value] of Object.entries(said)) body.set(name, value);
    lively = Date.now() + LIVELY;
    let told = null;
    try {
      told = await ask(form.dataset.act, { method: "POST", body });
      fault(told && told.error);
    } catch {
      fault("It was not said: the server does not answer as it should. Try again.");
    }
    next();
    return told !== null && !told.error;
  }

  async function send(type, parameters) {
    const done = await act({ action: "command", type, parameters: JSON.stringify(parameters) });
    const follow = one("control-follow");
    if (done && follow && follow.checked && type !== "screenshot") follows = true;
  }

  function fault(sentence) {
    one("control-error").textContent = sentence || "";
    one("control-error").hidden = !sentence;
  }

  function show() {
    one("control-status").textContent = status();
    for (const [id, holds] of [["control-start", state.reachable && !state.controller], ["control-end", state.may_end]]) {
      if (one(id)) one(id).hidden = !holds;
    }
    const free = state.is_mine || !state.controller;
    for (const button of form.querySelectorAll("[data-send], #control-type, #control-set-volume")) {
      const waits = "waits" in button.dataset, alone = waits || "free" in button.dataset;
      button.disabled = !(alone ? free && !state.retired && (waits || state.reachable) : state.is_mine);
    }
    one("screen").classList.toggle("live", state.is_mine && state.screen !== null);
    picture();
    const history = one("control-history");
    if (history.dataset.shown !== state.history) {
      history.innerHTML = state.history;
      history.dataset.shown = state.history;
    }
    if (follows && state.open === 0) {
      follows = false;
      act({ action: "command", type: "screenshot", parameters: "{}" });
    }
  }

  function status() {
    if (state.retired) return "It is retired.";
    if (state.is_mine) return "You control it. It is free again after five minutes without use.";
    if (state.controller) return `${state.controller} controls it.`;
    if (!state.online) return "It is offline: what can wait is done when it is back.";
    return state.reachable ? "Nobody controls it." : "It is in quarantine.";
  }

  function picture() {
    const image = one("screen-picture");
    one("screen-none").hidden = Boolean(state.picture);
    image.hidden = !state.picture;
    if (!state.picture) return;
    if (image.getAttribute("src") !== state.picture.address) {
      image.src = state.picture.address;
      image.width = state.picture.width;
      image.height = state.picture.height;
      one("screen-mark").hidden = true;
    }
    const seconds = Math.max(0, Math.round((Date.now() - new Date(state.picture.taken_at)) / 1000));
    one("screen-age").textContent = seconds < 90 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
  }

  // Where on the device's screen a place on the picture is.
  function place(event) {
    const box = one("screen-picture").getBoundingClientRect();
    const part = (value, size) => Math.min(Math.max(value / size, 0), 0.999999);
    const [width, height] = state.screen;
    return {
      x: Math.floor(part(event.clientX - box.left, box.width) * width),
      y: Math.floor(part(event.clientY - box.top, box.height) * height),
    };
  }

  function mark(event) {
    const box = one("screen").getBoundingClientRect(), dot = one("screen-mark");
    dot.style.left = `${event.clientX - box.left}px`;
    dot.style.top = `${event.clientY - box.top}px`;
    dot.hidden = false;
  }

  const image = one("screen-picture");
  image.addEventListener("pointerdown", (event) => {
    if (!state.is_mine || !state.screen || event.button !== 0) return;
    event.preventDefault();
    image.setPointerCapture(event.pointerId);
    pressed = { at: place(event), x: event.clientX, y: event.clientY, since: event.timeStamp };
    mark(event);
  });
  image.addEventListener("pointerup", (event) => {
    if (pressed === null) return;
    const { at, x, y, since } = pressed;
    pressed = null;
    mark(event);
    const far = Math.hypot(event.clientX - x, event.clientY - y) >= SMALLEST_SWIPE;
    const duration = Math.min(5000, Math.max(50, Math.round(event.timeStamp - since)));
    if (far) send("swipe", { from: at, to: place(event), duration_ms: duration });
    else send("tap", at);
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
  const when = (id, type, listener) => one(id) && one(id).addEventListener(type, listener);
  when("control-start", "click", () => act({ action: "start" }).then((done) => {
    if (done && one("control-follow") && one("control-follow").checked) {
      act({ action: "command", type: "screenshot", parameters: "{}" });
    }
  }));
  when("control-end", "click", () => act({ action: "end" }));
  function type() {
    const field = one("control-text");
    if (field.value && !one("control-type").disabled) {
      send("input", { text: field.value });
      field.value = "";
    }
  }
  when("control-type", "click", type);
  when("control-text", "keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); type(); } });
  when("control-volume", "input", () => { one("control-volume-said").textContent = one("control-volume").value; });
  when("control-set-volume", "click", () => send("set_volume", { volume: Number(one("control-volume").value) }));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

  show();
  next();
})();
